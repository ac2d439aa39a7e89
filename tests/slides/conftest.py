"""Small slides written for a test, and real ones by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import pyvips

Pixels = npt.NDArray[np.uint8]


@pytest.fixture
def noise() -> Callable[..., Pixels]:
    """(h, w, 3) random pixels: no two rectangles look alike."""

    def make(width: int, height: int, seed: int = 0) -> Pixels:
        return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)

    return make


@pytest.fixture
def write_slide(tmp_path: Path) -> Callable[..., Path]:
    """Writes pixels as a tiled TIFF of one level, without loss, with real resolution tags."""

    def write(
        pixels: Pixels,
        *,
        spacing_um: float | None = 0.5,
        name: str = "slide.tiff",
        tile_px: int = 64,
        is_tiled: bool = True,
        **options: object,
    ) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        resolution = (
            {} if spacing_um is None else {"xres": 1e3 / spacing_um, "yres": 1e3 / spacing_um}
        )
        saved = {
            "compression": "deflate",
            "tile": is_tiled,
            "resunit": "cm",
            **resolution,
            **options,
        }
        pyvips.Image.new_from_array(pixels).copy(interpretation="srgb").tiffsave(
            str(path), tile_width=tile_px, tile_height=tile_px, **saved
        )
        return path

    return write
