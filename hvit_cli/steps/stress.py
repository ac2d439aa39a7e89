"""One slide on other glass: read again, embedded where a pixel changed, graded again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from hvit_cli.measures.draws import drawn_for
from hvit_cli.measures.stress import StressRow
from hvit_cli.settings import GlassKind, StressSettings
from hvit_cli.slides.manifest import SlideEntry
from hvit_cli.slides.reader import Slide, open_slide
from hvit_cli.steps.altered import Patches, altered
from hvit_cli.steps.embed import Embedder, read_regions
from hvit_cli.steps.grade import Grader
from hvit_cli.steps.other_glass import Ground, other_glass
from hvit_cli.steps.prepare import SlidePreparer
from hvit_cli.steps.tile import make_tiles
from hvit_cli.storage.features import SlideFeatures
from hvit_cli.storage.tiles import TileFile, read_tiles
from hvit_cli.tissue.mask import read_mask

_DONATED = 64


@dataclass(frozen=True, kw_only=True)
class Stress:
    """Everything that decides how slides are stressed.

    Attributes:
        preparer: Makes features of all patches.
        graders: The model with each kind of attention.
        settings: What the glass becomes.
    """

    preparer: SlidePreparer
    graders: Sequence[Grader]
    settings: StressSettings

    def rows(
        self, entry: SlideEntry, features: SlideFeatures, donor: SlideEntry | None
    ) -> list[StressRow]:
        """The slide on every kind of glass, with every kind of attention.

        Args:
            entry: The slide.
            features: Its features, of all patches.
            donor: A slide whose glass it gets; None leaves that kind out.
        """
        work = self.preparer.work
        tiles = read_tiles(work.tiles(entry.slide_id))
        ground = Ground(
            tiles=tiles,
            mask=read_mask(work.mask(entry.slide_id))[0],
            edges=self.settings.edges,
            seed=self.settings.seed,
            number=drawn_for(entry.slide_id),
        )
        before = [grader.grade(features) for grader in self.graders]
        found = []
        for kind in self.settings.kinds:
            glass = self._donated(donor) if kind == "other" and donor else None
            if kind == "other" and glass is None:
                continue
            stressed, changed = self._on(kind, ground, entry, features, glass)
            tissue = features.tissue_fraction > features.background_below
            for grader, was in zip(self.graders, before, strict=True):
                now = grader.grade(stressed)
                found.append(
                    StressRow(
                        slide_id=entry.slide_id,
                        model=grader.model.folder.name,
                        attention=grader.model.attention,
                        glass=kind,
                        edges=self.settings.edges,
                        score=was.score,
                        stressed_score=now.score,
                        grade=was.grade,
                        stressed_grade=now.grade,
                        glass_patches=int((~tissue).sum()),
                        tissue_patches=int(tissue.sum()),
                        glass_changed=int((changed & ~tissue).sum()),
                        tissue_changed=int((changed & tissue).sum()),
                        note=grader.model.note,
                    )
                )
        return found

    def _on(
        self,
        kind: GlassKind,
        ground: Ground,
        entry: SlideEntry,
        features: SlideFeatures,
        donated: Patches | None,
    ) -> tuple[SlideFeatures, npt.NDArray[np.bool_]]:
        """The features on other glass, and (P,) which patches have another pixel."""
        reading = self.preparer.reading
        with (
            self._open(entry) as slide,
            altered(entry, reading, other_glass(kind, ground, donated)) as other,
        ):
            rows, pixels = changed_patches(slide, other, ground.tiles)
        changed = np.zeros(len(features.features), bool)
        changed[rows] = True
        new = features.features.copy()
        tokens = None if features.tokens is None else features.tokens[rows]
        new[rows] = embedded(self.preparer.embedder, pixels, tokens)
        return replace(features, features=new), changed

    def _donated(self, donor: SlideEntry) -> Patches | None:
        """Glass patches of a slide, (n, patch, patch, 3); None where it has none."""
        preparer = self.preparer
        with self._open(donor) as slide:
            tiles = make_tiles(
                slide,
                donor,
                reading=preparer.reading,
                tissue=preparer.tissue,
                tiling=preparer.tiling,
                work=preparer.work,
                overwrite=preparer.overwrite,
            ).tiles
            if tiles is None:
                return None
            glass = tiles.regions.tissue_fraction <= tiles.background_below
            if not glass.any():
                return None
            spread = np.flatnonzero(glass)
            wanted = np.zeros(glass.size, bool)
            wanted[spread[np.linspace(0, len(spread) - 1, _DONATED).astype(int)]] = True
            return np.concatenate(list(read_regions(slide, tiles, wanted.reshape(glass.shape))))

    def _open(self, entry: SlideEntry) -> Slide:
        return open_slide(
            entry.path,
            self.preparer.reading,
            slide_id=entry.slide_id,
            manifest_spacing_um=entry.spacing_um,
        )


def changed_patches(
    slide: Slide, other: Slide, tiles: TileFile
) -> tuple[npt.NDArray[np.intp], Patches]:
    """Reads all patches of two slides, and returns those of the second that differ.

    Returns:
        (n,) numbers of the patches, in the order of a file of all patches, and their pixels.
    """
    regions = tiles.regions
    every = np.ones((len(regions), regions.patches_per_region), bool)
    found, pixels, first = [], [], 0
    for one, two in zip(
        read_regions(slide, tiles, every), read_regions(other, tiles, every), strict=True
    ):
        differ = (one != two).any(axis=(1, 2, 3))
        found.append(first + np.flatnonzero(differ))
        pixels.append(two[differ])
        first += len(one)
    return np.concatenate(found), np.concatenate(pixels)


def embedded(
    embedder: Embedder, pixels: Patches, tokens: npt.NDArray[np.bool_] | None = None
) -> npt.NDArray[np.float16]:
    """(n, D) features of patches, of some tokens or of all, rounded as everywhere."""
    size = embedder.batch_size
    parts = [
        np.asarray(
            embedder.encoder.embed(
                pixels[i : i + size], None if tokens is None else tokens[i : i + size]
            ),
            np.float16,
        )
        for i in range(0, len(pixels), size)
    ]
    empty = np.zeros((0, embedder.encoder.spec.width), np.float16)
    return np.concatenate(parts) if parts else empty
