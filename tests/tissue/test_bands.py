from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvit_cli.settings import TissueSettings
from hvit_cli.tissue import bands as module
from hvit_cli.tissue.bands import bands, median_of_counts
from hvit_cli.tissue.glass import glass_colour
from hvit_cli.tissue.segmentation import segment

STAIN, BLUE_INK, BLACK_INK = (205, 130, 185), (40, 70, 190), (25, 25, 28)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=60))
def test_a_median_from_counts_is_the_median(numbers: list[int]) -> None:
    assert median_of_counts(np.bincount(numbers)) == np.median(numbers)


@given(st.integers(1, 3000), st.integers(1, 3000))
def test_bands_cover_every_row_once(height: int, width: int) -> None:
    rows = [row for band in bands((height, width)) for row in range(height)[band]]
    assert rows == list(range(height))


@pytest.mark.parametrize("band_px", [1, 256 * 7, 256 * 100])
def test_neither_tissue_nor_ink_depends_on_the_height_of_a_band(
    band_px: int, drawn: Callable[..., npt.NDArray[np.uint8]], monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = drawn(
        ((20, 30, 180, 90), STAIN),
        ((60, 120, 90, 250), BLUE_INK),
        ((150, 150, 240, 200), BLACK_INK),
        ((100, 60, 140, 160), (230, 215, 225)),
    )
    whole, colour = segment(picture, 8.0, TissueSettings()), glass_colour(picture)
    assert whole.tissue.any()
    assert whole.pen.any()
    monkeypatch.setattr(module, "_BAND_PX", band_px)
    parts = segment(picture, 8.0, TissueSettings())
    assert np.array_equal(parts.tissue, whole.tissue)
    assert np.array_equal(parts.pen, whole.pen)
    assert np.array_equal(glass_colour(picture), colour)


def test_segmentation_takes_few_bytes_a_pixel(
    drawn: Callable[..., npt.NDArray[np.uint8]],
) -> None:
    picture = drawn(((200, 300, 1500, 1300), STAIN), side=2000)
    tracemalloc.start()
    segment(picture, 8.0, TissueSettings())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # Hue, saturation and value of the whole picture alone would take twelve.
    assert peak / (2000 * 2000) < 20
