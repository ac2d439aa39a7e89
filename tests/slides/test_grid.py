from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hvit_cli.slides.grid import Regions


def regions(origin: list[tuple[float, float]], patch_level0: float, side: int = 8) -> Regions:
    counts = np.random.default_rng(0).integers(0, 5, (len(origin), side**2))
    return Regions(
        origin_level0=np.asarray(origin, np.float64).reshape(-1, 2),
        patch_level0=patch_level0,
        region_px=256 * side,
        patch_px=256,
        tissue_count=counts,
        pixel_count=np.full_like(counts, 4),
    )


def test_patch_k_lies_at_row_k_div_side_and_column_k_mod_side() -> None:
    two = regions([(100.0, 200.0), (5000.0, 0.0)], 512.0)
    for region, (x, y) in enumerate([(100, 200), (5000, 0)]):
        for k in range(64):
            expected = (x + k % 8 * 512, y + k // 8 * 512)
            assert tuple(two.patch_xy_level0[region, k]) == expected
    assert two.region_level0 == 4096


@given(st.floats(1.0, 1000.0), st.floats(-1e5, 1e5))
def test_the_first_patch_of_the_next_region_starts_where_this_one_ends(
    patch_level0: float, start: float
) -> None:
    both = regions([(start, 0.0), (start + 8 * patch_level0, 0.0)], patch_level0)
    end_of_first = start + patch_level0 * both.side
    assert both.xy_level0[1, 0] == both.patch_xy_level0[1, 0, 0]
    assert abs(both.xy_level0[1, 0] - end_of_first) <= 0.5 + 1e-5


def test_fractions_are_counts_over_pixels() -> None:
    one = regions([(0.0, 0.0)], 256.0)
    by_hand = [
        int(t) / int(p) for t, p in zip(one.tissue_count[0], one.pixel_count[0], strict=True)
    ]
    np.testing.assert_allclose(one.tissue_fraction[0], by_hand, rtol=1e-6)
    assert one.tissue_fraction.dtype == np.float32
    np.testing.assert_allclose(
        one.region_tissue_fraction[0], sum(map(int, one.tissue_count[0])) / (64 * 4), rtol=1e-6
    )


def test_a_patch_without_tissue_has_fraction_exactly_zero() -> None:
    one = regions([(0.0, 0.0)], 256.0)
    assert ((one.tissue_fraction == 0) == (one.tissue_count == 0)).all()


def test_no_pixels_is_no_tissue_and_no_error() -> None:
    empty = Regions(
        origin_level0=np.zeros((1, 2)),
        patch_level0=256.0,
        region_px=256,
        patch_px=256,
        tissue_count=np.zeros((1, 1), np.int64),
        pixel_count=np.zeros((1, 1), np.int64),
    )
    assert empty.tissue_fraction.tolist() == [[0.0]]
    assert empty.region_tissue_fraction.tolist() == [0.0]


def test_no_regions_is_legal() -> None:
    none = regions([], 256.0)
    assert len(none) == 0
    assert none.patch_xy_level0.shape == (0, 64, 2)
    assert none.region_tissue_fraction.shape == (0,)


def test_selecting_keeps_the_order() -> None:
    three = regions([(0.0, 0.0), (2048.0, 0.0), (0.0, 2048.0)], 256.0)
    chosen = three.select(np.array([True, False, True]))
    assert chosen.xy_level0.tolist() == [[0, 0], [0, 2048]]
    np.testing.assert_array_equal(chosen.tissue_count, three.tissue_count[[0, 2]])
