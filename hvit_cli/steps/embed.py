"""One slide's patches through the patch encoder, into a sparse feature file."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hvit_cli.errors import DamagedFileError
from hvit_cli.models.encoders import PatchEncoder
from hvit_cli.models.local_encoder import DESCRIPTION_FILE, PRETRAINING_SLIDES
from hvit_cli.settings import Attention
from hvit_cli.slides.geometry import ReadingPlan
from hvit_cli.slides.reader import Slide
from hvit_cli.steps.saved_rows import SavedRows
from hvit_cli.steps.watch import Watch, unwatched
from hvit_cli.storage.atomic import write_text
from hvit_cli.storage.features import SlideFeatures, read_features, write_features
from hvit_cli.storage.recipe import Recipe, recipe8, recipe_of, require_same_recipe
from hvit_cli.storage.tiles import TileFile
from hvit_cli.storage.work import WorkFolder

# Raised when the same settings begin to give other features.
METHOD = 1

Pixels = npt.NDArray[np.uint8]
Rows = npt.NDArray[np.float16]

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Embedder:
    """A patch encoder on its device, and how patches are fed to it.

    Attributes:
        encoder: The encoder, on the device where it runs.
        attention: Embed patches with tissue only (masked) or all (plain).
        batch_size: Patches per step.
    """

    encoder: PatchEncoder
    attention: Attention
    batch_size: int

    def recipe(self, tiles: TileFile) -> Recipe:
        """What decides the features of one slide.

        Which patches are embedded is not part of it: a file of all patches serves masked
        requests too.
        """
        encoder = self.encoder
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

    def features(self, patches: Iterable[Pixels]) -> Iterator[Rows]:
        """Embeds patches.

        Features are rounded to float16 here, so that a score from memory equals one from a file.

        Args:
            patches: Some patches at a time, (n, patch, patch, 3).

        Yields:
            (n, D) features in the same order, grouped in another way.
        """
        for batch in batches(patches, self.batch_size):
            yield np.asarray(self.encoder.embed(batch), np.float16)


def make_features(
    slide: Slide,
    tiles: TileFile,
    embedder: Embedder,
    work: WorkFolder,
    *,
    overwrite: bool,
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
        watch: Told how far the slide is.

    Returns:
        The features, and a remark: "reused", "" or why an existing file was made again.

    Raises:
        RecipeError: The file exists with another recipe and `overwrite` is false.
        PixelError: A patch cannot be decoded.
    """
    recipe, path = embedder.recipe(tiles), features_path(tiles, embedder, work)
    saved = SavedRows(path, recipe, embedder.wanted(tiles), embedder.encoder)
    remark = ""
    if path.exists() and not overwrite:
        try:
            found = read_features(path)
        except DamagedFileError as error:
            remark = f"made again, because {error.what}"
        else:
            require_same_recipe(path, found.recipe, recipe)
            if found.patches == "all" or embedder.attention == "masked":
                saved.remove()
                return found, "reused"
            remark = "made again, because the file held only patches with tissue"
    features = embed_slide(slide, tiles, embedder, recipe, saved=saved, watch=watch)
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
        write_text(file, json.dumps({PRETRAINING_SLIDES: list(slides)}, indent=2) + "\n")


def embed_slide(
    slide: Slide,
    tiles: TileFile,
    embedder: Embedder,
    recipe: Recipe,
    *,
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
        saved: What was embedded before, and is kept for a run after this one.
        watch: Told how far the slide is.
    """
    regions = tiles.regions
    wanted = embedder.wanted(tiles)
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
    parts = embedder.features(read_regions(slide, tiles, left))
    watch(slide.slide_id, done, total)
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
    )


def _plan(tiles: TileFile) -> ReadingPlan:
    return ReadingPlan(
        level=tiles.level,
        downsample=tiles.downsample,
        spacing_um_level0=tiles.spacing_um_level0,
        spacing_um=tiles.spacing_um,
        resampled=tiles.resampled,
    )


def read_regions(slide: Slide, tiles: TileFile, wanted: npt.NDArray[np.bool_]) -> Iterator[Pixels]:
    """Yields the wanted patches of each region, (n, patch, patch, 3), reading one ahead.

    Args:
        slide: The open slide.
        tiles: Its regions.
        wanted: (M, K) which patches.
    """
    plan, regions = _plan(tiles), tiles.regions

    def read(region: int) -> Pixels:
        x, y = regions.origin_level0[region]
        return slide.read_patches(
            plan,
            (float(x), float(y)),
            regions.patch_px,
            regions.side,
            np.flatnonzero(wanted[region]),
        )

    # One thread holds the slide's handle; it reads the next region while this one is embedded.
    with ThreadPoolExecutor(max_workers=1) as reader:
        ahead: Future[Pixels] | None = None
        for region in np.flatnonzero(wanted.any(axis=1)):
            current, ahead = ahead, reader.submit(read, int(region))
            if current is not None:
                yield current.result()
        if ahead is not None:
            yield ahead.result()


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
