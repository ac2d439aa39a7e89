from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hvit_cli.settings import ReadingSettings
from hvit_cli.slides.reader import Slide, open_slide
from hvit_cli.viewer.pixels import SlidePixels


def all_tiles(pixels: SlidePixels, zoom: int) -> list:
    pyramid = pixels.pyramid
    width, height = pyramid.size_px(zoom)
    return [
        pyramid.tile(zoom, c, r) for r in range(-(-height // 512)) for c in range(-(-width // 512))
    ]


def joined(pixels: SlidePixels, zoom: int) -> np.ndarray:
    width, height = pixels.pyramid.size_px(zoom)
    whole = np.zeros((height, width, 3), np.uint8)
    for tile in all_tiles(pixels, zoom):
        (x, y), (w, h) = tile.xy_px, tile.size_px
        whole[y : y + h, x : x + w] = pixels.read(tile)
    return whole


@pytest.mark.parametrize(("zoom", "level"), [(3, 0), (2, 1), (1, 2)])
def test_tiles_are_the_pixels_of_the_level_that_has_them(
    pixels: SlidePixels, open_one: Callable[[], Slide], zoom: int, level: int
) -> None:
    with open_one() as slide:
        wanted = slide.read_level(level, (0, 0), slide.geometry.sizes[level])
    assert wanted.shape == joined(pixels, zoom).shape
    np.testing.assert_array_equal(joined(pixels, zoom), wanted)


def test_a_zoom_without_a_level_is_a_mean_over_the_next_finer_one(pixels: SlidePixels) -> None:
    # Level 2 is a quarter; zoom 0 is an eighth, and 2900 is no multiple of 8.
    quarter = joined(pixels, 1).astype(float)[: 212 * 2, : 362 * 2]
    wanted = quarter.reshape(212, 2, 362, 2, 3).mean(axis=(1, 3))
    found = joined(pixels, 0)[:212, :362].astype(float)
    # The last column stretches the others by at most a third of a pixel.
    assert np.abs(found[:, :40] - wanted[:, :40]).max() <= 12
    assert np.abs(found - wanted).mean() < 4


def test_threads_read_the_same(pixels: SlidePixels) -> None:
    tiles = all_tiles(pixels, 3) * 3
    alone = [pixels.read(tile) for tile in tiles]
    with ThreadPoolExecutor(16) as threads:
        for one, other in zip(alone, threads.map(pixels.read, tiles), strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_slide_of_one_level_is_averaged_from_its_overview(tmp_path: Path) -> None:
    step = np.arange(9000) // 36
    picture = np.stack([np.tile(step, (700, 1))] * 3, axis=-1).astype(np.uint8)
    path = tmp_path / "long.png"
    Image.fromarray(picture).save(path)
    reading = ReadingSettings(spacing_override=0.5)
    pixels = SlidePixels(partial(open_slide, path, reading))
    assert pixels.geometry.sizes == ((9000, 700),)
    for zoom in (0, 1, 2):
        shown = joined(pixels, zoom)
        per_px = 9000 / shown.shape[1]
        wanted = (np.arange(shown.shape[1]) + 0.5) * per_px / 36 - 0.5
        assert np.abs(shown[5, :, 0] - wanted).max() < 1.5
    pixels.close()


@pytest.mark.parametrize(
    "name", ["biopsy_a.tiff", "CMU-1-Small-Region.svs", "panda_ink_upsampled_0.486um.tif"]
)
def test_real_slides_give_every_tile_of_two_zooms(data: Path, name: str) -> None:
    path = data / "slides" / name
    if not path.exists():
        pytest.skip(f"{path} is absent")
    pixels = SlidePixels(partial(open_slide, path, ReadingSettings(), require_spacing=False))
    last = pixels.pyramid.last_zoom
    assert joined(pixels, 0).shape[:2] == pixels.pyramid.size_px(0)[::-1]
    tile = pixels.pyramid.tile(last, *(n // 512 // 2 for n in pixels.pyramid.size_level0))
    assert tile is not None
    with open_slide(path, require_spacing=False) as slide:
        wanted = slide.read_level(0, tile.box_level0[:2], tile.size_px)
    np.testing.assert_array_equal(pixels.read(tile), wanted)
    pixels.close()
