"""One slide's patches through the patch encoder, into a sparse feature file."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from hvit_cli.errors import DamagedFileError, TissueError
from hvit_cli.models.encoders import PatchEncoder
from hvit_cli.models.local_encoder import DESCRIPTION_FILE, PRETRAINING_SLIDES
from hvit_cli.settings import Attention, MaskLevel
from hvit_cli.settings.seal import sealed
from hvit_cli.slides.ahead import read_ahead
from hvit_cli.slides.geometry import ReadingPlan
from hvit_cli.slides.reader import Slide
from hvit_cli.steps.patch_stream import PatchStream
from hvit_cli.steps.remade import made_again
from hvit_cli.steps.saved_rows import SavedRows
from hvit_cli.steps.watch import Watch, unwatched
from hvit_cli.storage.atomic import write_text
from hvit_cli.storage.features import SlideFeatures, read_features, write_features
from hvit_cli.storage.recipe import Recipe, recipe8, recipe_of, require_same_recipe
from hvit_cli.storage.tiles import TileFile
from hvit_cli.storage.work import WorkFolder
from hvit_cli.tissue.mask import TissueMask
from hvit_cli.tissue.tokens import tokens_with_tissue

# Raised when the same settings begin to give other features.
METHOD = 2

# Threads of the encoder for each that reads: the shares of time that both take of a processor.
_COMPUTING_PER_READER = 4
_MOST_READERS = 8
# Of a GPU's steps, so that each is copied to it while the one before is computed; of large
# steps fewer, so that a slide does not hold gigabytes of pixels that wait.
_STEPS_AT_ONCE, _MOST_AT_ONCE = 4, 512

Pixels = npt.NDArray[np.uint8]
Rows = npt.NDArray[np.float16]
Bits = npt.NDArray[np.bool_]

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Embedder:
    """A patch encoder on its device, and how patches are fed to it; threads may share it.

    Attributes:
        encoder: The encoder, on the device where it runs.
        attention: Embed patches with tissue only (masked) or all (plain).
        batch_size: Patches per step.
        mask_level: Whether tokens without tissue are masked as well (patch, both).
    """

    encoder: PatchEncoder
    attention: Attention
    batch_size: int
    mask_level: MaskLevel = "region"
    stream: PatchStream = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        steps = 1
        if self.encoder.device.type != "cpu":
            steps = max(1, min(_STEPS_AT_ONCE, _MOST_AT_ONCE // self.batch_size))
        stream = PatchStream(self.encoder.embed, steps * self.batch_size)
        object.__setattr__(self, "stream", stream)

    @property
    def readers(self) -> int:
        """Threads that read a slide; a GPU leaves the processors to them."""
        threads = torch.get_num_threads()
        on_processor = self.encoder.device.type == "cpu"
        return min(_MOST_READERS, max(1, threads // (_COMPUTING_PER_READER if on_processor else 1)))

    def recipe(self, tiles: TileFile) -> Recipe:
        """What decides the features of one slide.

        Which patches are embedded is not part of it: a file of all patches serves masked
        requests too.
        """
        encoder = self.encoder
        # Named only where tokens are masked, so that other recipes stay what they were.
        level = {} if self.mask_level == "region" else {"mask_level": self.mask_level}
        return recipe_of(
            settings={
                **tiles.recipe["settings"],
                "embed": {
                    "method": METHOD,
                    "encoder": encoder.spec.name,
                    "weights": encoder.weights_hash,
                    "input": encoder.input_recipe(),
                    "normalisation": encoder.normalisation_text,
                    "precision": encoder.precision,
                    **level,
                },
            },
            inputs=tiles.recipe["inputs"],
        )

    def wanted(self, tiles: TileFile) -> npt.NDArray[np.bool_]:
        """(M, K) which patches of a slide are embedded."""
        fraction = tiles.regions.tissue_fraction
        if self.attention == "masked":
            return fraction > tiles.background_below
        return np.ones(fraction.shape, bool)

    def tokens(self, tiles: TileFile, mask: TissueMask | None) -> Bits | None:
        """(P, N) which tokens of the wanted patches hold tissue; None where none are masked.

        Args:
            tiles: The slide's regions.
            mask: The tissue they were laid on; needed where tokens are masked.

        Raises:
            ModelError: The encoder cannot do without tokens.
            TissueError: There is no mask, or it is too coarse.
        """
        if self.mask_level == "region":
            return None
        if mask is None:
            raise TissueError("tokens are masked by a tissue mask, and none is at hand")
        regions = tiles.regions
        side = self.encoder.token_grid(regions.patch_px)
        origin = regions.patch_origin_level0[self.wanted(tiles)]
        return tokens_with_tissue(mask, origin, regions.patch_level0, side, where=tiles.slide_id)

    def features(
        self, patches: Iterable[Pixels], tokens: Bits | None = None
    ) -> Generator[Rows, None, None]:
        """Embeds patches of a slide, in batches that it shares with other slides.

        Features are rounded to float16 there, so that a score from memory equals one from a file.

        Args:
            patches: Some patches at a time, (n, patch, patch, 3).
            tokens: (P, N) which tokens of all of them are seen; None for all.

        Yields:
            (n, D) features in the same order, grouped in another way.
        """
        return self.stream.features(patches, tokens)


def make_features(
    slide: Slide,
    tiles: TileFile,
    embedder: Embedder,
    work: WorkFolder,
    *,
    overwrite: bool,
    mask: TissueMask | None = None,
    watch: Watch = unwatched,
) -> tuple[SlideFeatures, str]:
    """Embeds one slide's patches, or reads the file that already holds them.

    What a killed run has embedded of a large slide is not embedded again.

    Args:
        slide: The open slide.
        tiles: Its regions.
        embedder: Embeds them.
        work: Where features lie.
        overwrite: Make them again that exist with another recipe.
        mask: The tissue that the regions were laid on; needed where tokens are masked.
        watch: Told how far the slide is.

    Returns:
        The features, and a remark: "reused", "" or why an existing file was made again.

    Raises:
        RecipeError: The file exists with another recipe and `overwrite` is false.
        PixelError: A patch cannot be decoded.
        TissueError: Tokens are to be masked, and the mask is too coarse.
    """
    recipe, path = embedder.recipe(tiles), features_path(tiles, embedder, work)
    saved = SavedRows(path, recipe, embedder.wanted(tiles), embedder.encoder)
    remark = ""
    if path.exists() and not overwrite:
        try:
            found = read_features(path)
        except DamagedFileError as error:
            remark = made_again(work, path, error.what)
        else:
            require_same_recipe(path, found.recipe, recipe)
            if found.patches == "all" or embedder.attention == "masked":
                saved.remove()
                return found, "reused"
            remark = made_again(work, path, "the file held only patches with tissue")
    features = embed_slide(slide, tiles, embedder, recipe, mask=mask, saved=saved, watch=watch)
    _record_pretraining(path.parent, embedder.encoder)
    write_features(path, features)
    saved.remove()
    return features, remark


def features_path(tiles: TileFile, embedder: Embedder, work: WorkFolder) -> Path:
    """Where one slide's features lie, in the folder of their recipe."""
    recipe = recipe8(embedder.recipe(tiles)["settings"])
    folder = work.features_folder(embedder.encoder.spec.folder_name, recipe)
    return folder / f"{tiles.slide_id}.h5"


def _record_pretraining(folder: Path, encoder: PatchEncoder) -> None:
    """Writes beside features which slides their encoder was trained on, where that is known."""
    slides, file = encoder.spec.pretraining_slides, folder / DESCRIPTION_FILE
    if slides and not file.exists():
        said = sealed({PRETRAINING_SLIDES: list(slides)})
        write_text(file, json.dumps(said, indent=2) + "\n")


def embed_slide(
    slide: Slide,
    tiles: TileFile,
    embedder: Embedder,
    recipe: Recipe,
    *,
    mask: TissueMask | None = None,
    saved: SavedRows | None = None,
    watch: Watch = unwatched,
) -> SlideFeatures:
    """Reads and embeds the patches of one slide.

    Background patches are neither read nor embedded under masked attention.

    Args:
        slide: The open slide.
        tiles: Its regions.
        embedder: Embeds them.
        recipe: What decides the features.
        mask: The tissue that the regions were laid on; needed where tokens are masked.
        saved: What was embedded before, and is kept for a run after this one.
        watch: Told how far the slide is.
    """
    regions = tiles.regions
    wanted = embedder.wanted(tiles)
    tokens = embedder.tokens(tiles, mask)
    region_index, patch_index = np.nonzero(wanted)
    encoder, total = embedder.encoder, len(patch_index)
    embedded = [np.zeros((0, encoder.spec.width), np.float16)]
    if saved is not None:
        embedded.append(saved.read())
    done = len(embedded[-1])
    if done:
        _LOG.info("%s: goes on after %d of %d patches", slide.slide_id, done, total)
    left = wanted.copy()
    left[region_index[:done], patch_index[:done]] = False
    parts = embedder.features(
        read_regions(slide, tiles, left, threads=embedder.readers),
        None if tokens is None else tokens[done:],
    )
    watch(slide.slide_id, done, total)
    # Closed also where `watch` ends the run: others share the stream, and wait for what is in it.
    with closing(parts):
        for part in parts if saved is None else saved.saving(parts):
            embedded.append(part)
            done += len(part)
            watch(slide.slide_id, done, total)
    return SlideFeatures(
        slide_id=slide.slide_id,
        features=np.concatenate(embedded),
        coords=regions.patch_xy_level0[wanted],
        region_index=region_index.astype(np.int64),
        patch_index=patch_index.astype(np.int64),
        tissue_fraction=regions.tissue_fraction[wanted],
        region_xy_level0=regions.xy_level0,
        region_tissue_fraction=regions.region_tissue_fraction,
        patches="tissue" if embedder.attention == "masked" else "all",
        patches_per_region=regions.patches_per_region,
        background_below=tiles.background_below,
        encoder=encoder.spec.name,
        encoder_hash=encoder.weights_hash,
        normalisation=encoder.normalisation_text,
        precision=encoder.precision,
        region_px=regions.region_px,
        patch_px=regions.patch_px,
        patch_level0=regions.patch_level0,
        size_level0=tiles.size_level0,
        spacing_um_level0=tiles.spacing_um_level0,
        spacing_um_target=tiles.spacing_um_target,
        spacing_um=tiles.spacing_um,
        tissue_mm2=tiles.tissue_mm2,
        tissue_dropped_mm2=tiles.tissue_dropped_mm2,
        recipe=recipe,
        mask_level=embedder.mask_level,
        token_px=None if tokens is None else regions.patch_px // math.isqrt(tokens.shape[1]),
        token_bits=None if tokens is None else np.packbits(tokens, axis=1),
    )


def _plan(tiles: TileFile) -> ReadingPlan:
    return ReadingPlan(
        level=tiles.level,
        downsample=tiles.downsample,
        spacing_um_level0=tiles.spacing_um_level0,
        spacing_um=tiles.spacing_um,
        resampled=tiles.resampled,
    )


def read_regions(
    slide: Slide, tiles: TileFile, wanted: npt.NDArray[np.bool_], *, threads: int = 1
) -> Iterator[Pixels]:
    """Yields the wanted patches of each region, (n, patch, patch, 3), reading ahead.

    Args:
        slide: The open slide.
        tiles: Its regions.
        wanted: (M, K) which patches.
        threads: Threads that read; each holds a region more.
    """
    regions = tiles.regions
    requests = [
        (
            (float(regions.origin_level0[region][0]), float(regions.origin_level0[region][1])),
            np.flatnonzero(wanted[region]),
        )
        for region in np.flatnonzero(wanted.any(axis=1))
    ]
    return read_ahead(
        slide,
        _plan(tiles),
        requests,
        patch_px=regions.patch_px,
        side=regions.side,
        threads=threads,
        waiting=threads + 1,
    )


def batches(regions: Iterable[Pixels], batch_size: int) -> Iterator[Pixels]:
    """Regroups patches into batches of one size; the last may be smaller."""
    waiting: list[Pixels] = []
    for patches in regions:
        waiting.append(patches)
        if sum(map(len, waiting)) >= batch_size:
            joined = np.concatenate(waiting)
            full = len(joined) // batch_size * batch_size
            for first in range(0, full, batch_size):
                yield joined[first : first + batch_size]
            waiting = [joined[full:]]
    rest = np.concatenate(waiting) if waiting else None
    if rest is not None and len(rest):
        yield rest
