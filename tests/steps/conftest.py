"""Small drawn slides, written as tiled TIFFs with a spacing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import pyvips

WriteSlide = Callable[..., Path]


@pytest.fixture
def write_slide(tmp_path: Path) -> WriteSlide:
    """Writes a slide of glass with stained rectangles (left, top, right, bottom), 2 µm/px."""

    def write(
        name: str = "slide",
        *boxes: tuple[int, int, int, int],
        colour: tuple[int, int, int] = (205, 130, 185),
        glass: tuple[int, int, int] = (243, 243, 243),
        folder: str = "slides",
    ) -> Path:
        picture = np.empty((1000, 1600, 3), np.uint8)
        picture[:] = glass
        for left, top, right, bottom in boxes:
            picture[top:bottom, left:right] = colour
        path = tmp_path / folder / f"{name}.tiff"
        path.parent.mkdir(exist_ok=True)
        pyvips.Image.new_from_array(picture).tiffsave(
            str(path),
            tile=True,
            tile_width=256,
            tile_height=256,
            pyramid=True,
            compression="jpeg",
            Q=90,
            xres=500.0,
            yres=500.0,
            resunit="cm",
        )
        return path

    return write
