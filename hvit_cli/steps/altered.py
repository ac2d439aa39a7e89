"""A slide whose patches are changed as they are read; everything else of it stays."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hvit_cli.pretraining.stain import restained, stain_maps
from hvit_cli.settings import ReadingSettings
from hvit_cli.slides.geometry import ReadingPlan
from hvit_cli.slides.manifest import SlideEntry
from hvit_cli.slides.reader import Slide

Patches = npt.NDArray[np.uint8]
Alter = Callable[[Patches, tuple[float, float], npt.NDArray[np.int64]], Patches]
"""(n, patch, patch, 3) pixels, corner of their region in level-0 pixels, (n,) patch indices."""

_STAIN_SCALE = 0.2
_STAIN_SHIFT = 0.02


class AlteredSlide(Slide):
    """A slide that hands out changed patches.

    Args:
        path: The slide.
        reading: Where its spacing may come from.
        alter: Changes the patches of one region; it must not change its argument.
        slide_id: Its name.
        manifest_spacing_um: µm per level-0 pixel, when a manifest states it.
    """

    def __init__(
        self,
        path: Path,
        reading: ReadingSettings,
        alter: Alter,
        *,
        slide_id: str,
        manifest_spacing_um: float | None = None,
    ) -> None:
        super().__init__(path, reading, slide_id=slide_id, manifest_spacing_um=manifest_spacing_um)
        self._alter = alter
        self._open_again = functools.partial(
            AlteredSlide,
            path,
            reading,
            alter,
            slide_id=slide_id,
            manifest_spacing_um=manifest_spacing_um,
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return (self._open_again, ())

    def read_patches(
        self,
        plan: ReadingPlan,
        origin_level0: tuple[float, float],
        patch_px: int,
        side: int,
        patch_index: npt.NDArray[np.int64],
    ) -> Patches:
        """Patches of one region as `Slide.read_patches` reads them, changed."""
        pixels = super().read_patches(plan, origin_level0, patch_px, side, patch_index)
        return self._alter(pixels, origin_level0, np.asarray(patch_index, np.int64))


def altered(entry: SlideEntry, reading: ReadingSettings, alter: Alter) -> AlteredSlide:
    """Opens the slide of an entry, with its patches changed as they are read."""
    return AlteredSlide(
        entry.path,
        reading,
        alter,
        slide_id=entry.slide_id,
        manifest_spacing_um=entry.spacing_um,
    )


def another_stain(random: np.random.Generator) -> Alter:
    """More or less haematoxylin and eosin, drawn once for a whole slide.

    Amounts of both dyes are scaled by 0.8 to 1.2 and shifted by up to 0.02 of optical density.
    """
    scale = random.uniform(1 - _STAIN_SCALE, 1 + _STAIN_SCALE, (1, 2))
    shift = random.uniform(-_STAIN_SHIFT, _STAIN_SHIFT, (1, 2))
    linear, offset = stain_maps(scale, shift)

    def alter(
        pixels: Patches, _origin: tuple[float, float], _index: npt.NDArray[np.int64]
    ) -> Patches:
        return np.stack([restained(patch, linear[0], offset[0]) for patch in pixels])

    return alter
