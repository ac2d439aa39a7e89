"""What is measured of pixels: haematoxylin, and how maps stand a shifted grid and another stain."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from hvit_cli.measures.draws import drawn_for
from hvit_cli.measures.haematoxylin import haematoxylin_density
from hvit_cli.settings import MeasureSettings
from hvit_cli.slides.manifest import SlideEntry
from hvit_cli.slides.reader import open_slide
from hvit_cli.steps.altered import altered, another_stain
from hvit_cli.steps.embed import embed_slide
from hvit_cli.steps.explain import pixels_of
from hvit_cli.steps.measure import MeasuredSlide
from hvit_cli.steps.prepare import SlidePreparer
from hvit_cli.storage.features import SlideFeatures
from hvit_cli.storage.tiles import read_tiles
from hvit_cli.tissue.mask import read_mask

_STAIN_STREAM = 304
_HALF_A_PATCH = (0.5, 0.5)


@dataclass(frozen=True, kw_only=True)
class PixelMeasurer:
    """Measures what is of the slide itself and not of its features.

    Attributes:
        preparer: Makes features of all patches.
        batch_size: Patches that are read at a time.
        settings: Which measures.
    """

    preparer: SlidePreparer
    batch_size: int
    settings: MeasureSettings

    def complete(self, slide: MeasuredSlide, entry: SlideEntry, *, again: bool) -> MeasuredSlide:
        """Adds haematoxylin, and where the slide is embedded `again` what stability needs."""
        if self.settings.floors:
            slide = replace(slide, haematoxylin=self._haematoxylin(entry, slide.features))
        if not again:
            return slide
        shifted = replace(
            self.preparer,
            shift_patches=_HALF_A_PATCH,
            work=self.preparer.work.shifted(_HALF_A_PATCH),
        ).features(entry)
        return replace(slide, shifted=shifted.features, restained=self._restained(entry))

    def _haematoxylin(self, entry: SlideEntry, features: SlideFeatures) -> npt.NDArray[np.float64]:
        tiles = read_tiles(self.preparer.work.tiles(entry.slide_id))
        with open_slide(
            entry.path,
            self.preparer.reading,
            slide_id=entry.slide_id,
            manifest_spacing_um=entry.spacing_um,
        ) as slide:
            read = pixels_of(slide, tiles, features, self.batch_size)
            parts = [haematoxylin_density(p) for p in read(np.ones(len(features.features), bool))]
        return np.concatenate(parts)

    def _restained(self, entry: SlideEntry) -> SlideFeatures:
        tiles = read_tiles(self.preparer.work.tiles(entry.slide_id))
        mask, _ = read_mask(self.preparer.work.mask(entry.slide_id))
        alter = another_stain(
            np.random.default_rng([self.settings.seed, _STAIN_STREAM, drawn_for(entry.slide_id)])
        )
        embedder = self.preparer.embedder
        with altered(entry, self.preparer.reading, alter) as slide:
            return embed_slide(slide, tiles, embedder, embedder.recipe(tiles), mask=mask)
