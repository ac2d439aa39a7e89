from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from hvit_cli.tissue.coverage import count_pixels, first_pixel
from hvit_cli.tissue.mask import TissueMask

MaskOf = Callable[..., TissueMask]


@pytest.mark.parametrize(
    ("edge_level0", "first"),
    # Pixels of 16: centres at 8, 24, 40; an edge on a centre begins with that pixel.
    [(0, 0), (7.9, 0), (8, 0), (8.1, 1), (24, 1), (-8, -1), (-8.1, -1), (-7.9, 0)],
)
def test_a_pixel_belongs_to_what_holds_its_centre(edge_level0: float, first: int) -> None:
    assert first_pixel(edge_level0, 16.0) == first


def test_float_noise_does_not_move_an_edge() -> None:
    edge = 8 + 16 * np.arange(5)
    assert np.array_equal(first_pixel(edge + 1e-9, 16.0), first_pixel(edge - 1e-9, 16.0))


def test_tissue_and_pixels_beyond_the_slide(mask_of: MaskOf) -> None:
    mask = mask_of((0, 0, 2, 3), shape=(10, 10))
    tissue, pixels = count_pixels(mask, np.asarray([-32.0, 16.0, 64.0]), np.asarray([0.0, 400.0]))
    assert tissue.tolist() == [[3, 3]]
    assert pixels.tolist() == [[75, 75]]


def test_many_grids_at_once(mask_of: MaskOf) -> None:
    mask = mask_of((5, 5, 20, 20))
    x = np.asarray([[0.0, 160.0], [160.0, 320.0]])
    tissue, _ = count_pixels(mask, x, x)
    assert tissue[:, 0, 0].tolist() == [25, 100]


def test_pure_glass_counts_exactly_zero(mask_of: MaskOf) -> None:
    mask = mask_of((0, 0, 137, 200))
    edges = np.arange(140, 300, 7) * 16.0 + 0.3
    tissue, _ = count_pixels(mask, edges, np.asarray([0.0, 3200.0]))
    assert (tissue == 0).all()
