"""Drawn slides: coloured shapes on glass, at the spacing of segmentation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from hvit_cli.tissue.mask import TissueMask, mask_over_slide

Rgb = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]
Box = tuple[int, int, int, int]

STAIN: Colour = (205, 130, 185)
GLASS: Colour = (243, 243, 243)


@pytest.fixture
def drawn() -> Callable[..., Rgb]:
    """Draws rectangles (left, top, right, bottom) on glass, with a little sensor noise."""

    def draw(*shapes: tuple[Box, Colour], glass: Colour = GLASS, side: int = 256) -> Rgb:
        picture = np.empty((side, side, 3), np.int16)
        picture[:] = glass
        for (left, top, right, bottom), colour in shapes:
            picture[top:bottom, left:right] = colour
        noise = np.random.default_rng(0).integers(-2, 3, (side, side, 1))
        return np.clip(picture + noise, 0, 255).astype(np.uint8)

    return draw


@pytest.fixture
def mask_of() -> Callable[..., TissueMask]:
    """A mask with tissue in rectangles, 8 µm per pixel, 16 level-0 pixels each."""

    def make(*boxes: Box, shape: tuple[int, int] = (200, 300), per_px: int = 16) -> TissueMask:
        pixels = np.zeros(shape, np.uint8)
        for left, top, right, bottom in boxes:
            pixels[top:bottom, left:right] = 1
        size = (shape[1] * per_px, shape[0] * per_px)
        return mask_over_slide(pixels, size, 8 / per_px, "segmented")

    return make
