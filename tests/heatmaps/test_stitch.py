from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hvit_cli.heatmaps.maps import rescale
from hvit_cli.heatmaps.stitch import PictureFrame, patch_edges_level0, stitch


def frame(size_px: tuple[int, int], size_level0: tuple[int, int]) -> PictureFrame:
    return PictureFrame(size_px=size_px, size_level0=size_level0)


def painted_by_hand(patch_map, picture: PictureFrame) -> np.ndarray:
    """The value of the visible patch that holds each pixel's centre, looked up pixel by pixel."""
    width, height = picture.size_px
    raster = np.full((height, width), np.nan)
    side = patch_map.patch_level0
    for i in range(height):
        for j in range(width):
            x = (j + 0.5) * picture.size_level0[0] / width
            y = (i + 0.5) * picture.size_level0[1] / height
            for (left, top), value, seen in zip(
                patch_map.patch_xy_level0, patch_map.value, patch_map.visible, strict=True
            ):
                if seen and left <= x < left + side and top <= y < top + side:
                    raster[i, j] = value
    return raster


def test_a_patch_lands_on_the_pixels_that_its_coordinates_say(make_map) -> None:
    one = rescale(make_map([(200, 100)], attention="plain"), "relative")
    raster = stitch(one, frame((100, 60), (1000, 600)))
    # Patch 6 of a 4 × 4 region at (200, 100) with patches of 100: column 2, row 1.
    assert np.all(raster[20:30, 40:50] == np.float32(one.value[6]))
    assert raster[19, 40] == np.float32(one.value[2])
    assert np.isnan(raster[:10]).all()
    assert np.isnan(raster[:, :20]).all()
    assert np.isnan(raster[:, 60:]).all()


@given(
    seed=st.integers(0, 999),
    width=st.integers(5, 60),
    height=st.integers(5, 60),
    x=st.integers(-150, 700),
    y=st.integers(-150, 500),
)
@settings(max_examples=30, deadline=None)
def test_stitching_equals_looking_up_every_pixels_centre(
    make_map, seed: int, width: int, height: int, x: int, y: int
) -> None:
    one = rescale(make_map([(x, y)], seed=seed), "relative")
    picture = frame((width, height), (900, 700))
    np.testing.assert_allclose(stitch(one, picture), painted_by_hand(one, picture), rtol=1e-6)


def test_fractional_patches_leave_no_gap_between_patches_and_regions(make_map) -> None:
    # 131.3 level-0 pixels a patch: stored corners are 131 or 132 apart.
    side, patch = 4, 131.3
    corners = [(round(c * side * patch), 7) for c in range(3)]
    many = make_map(corners, side=side, patch_level0=patch, attention="plain")
    width, height = round(12 * patch), 7 + round(4 * patch)
    raster = stitch(many, frame((width, height), (width, height)))
    assert not np.isnan(raster[7 : height - 1, : width - 1]).any()
    x_edges, _ = patch_edges_level0(many)
    assert x_edges[0, -1] == corners[1][0]
    assert x_edges[1, -1] == corners[2][0]


def test_rows_may_come_in_any_order_and_hidden_ones_may_be_missing(make_map) -> None:
    whole = rescale(make_map([(0, 0), (400, 0)]), "relative")
    order = np.random.default_rng(1).permutation(np.flatnonzero(whole.visible))
    rows = ("patch_xy_level0", "region_index", "patch_index", "tissue_fraction", "visible", "value")
    mixed = dataclasses.replace(whole, **{name: getattr(whole, name)[order] for name in rows})
    picture = frame((90, 50), (900, 500))
    for smooth in (False, True):
        np.testing.assert_array_equal(
            stitch(mixed, picture, smooth=smooth), stitch(whole, picture, smooth=smooth)
        )


def test_what_is_not_shown_is_neither_painted_nor_smoothed_in(make_map) -> None:
    plain = rescale(make_map(attention="plain"), "relative")
    glass = plain.background
    assert glass.any()
    picture = frame((80, 80), (400, 400))
    some = stitch(plain, picture, shown=~glass, smooth=True)
    changed = dataclasses.replace(plain, value=np.where(glass, 1e6, plain.value))
    np.testing.assert_array_equal(some, stitch(changed, picture, shown=~glass, smooth=True))
    np.testing.assert_array_equal(
        np.isnan(some), np.isnan(stitch(plain, picture, shown=~glass, smooth=False))
    )


@given(seed=st.integers(0, 9999), share=st.floats(0, 1))
@settings(max_examples=30, deadline=None)
def test_smoothing_paints_the_same_pixels_and_stays_within_the_regions_values(
    make_map, seed: int, share: float
) -> None:
    two = rescale(make_map([(0, 0), (400, 0)], seed=seed, tissue_share=share), "relative")
    picture = frame((83, 41), (800, 400))
    sharp, soft = stitch(two, picture), stitch(two, picture, smooth=True)
    np.testing.assert_array_equal(np.isnan(sharp), np.isnan(soft))
    for m, columns in ((0, slice(0, 41)), (1, slice(42, 83))):
        values = two.value[(two.region_index == m) & two.visible]
        part = soft[:, columns]
        if len(values):
            assert np.nanmin(part) >= values.min() - 1e-5
            assert np.nanmax(part) <= values.max() + 1e-5


def test_smoothing_ignores_the_neighbouring_region_and_hidden_patches(make_map) -> None:
    two = rescale(make_map([(0, 0), (400, 0)]), "relative")
    picture = frame((80, 40), (800, 400))
    before = stitch(two, picture, smooth=True)
    other = dataclasses.replace(two, value=np.where(two.region_index == 1, 99.0, two.value))
    np.testing.assert_array_equal(stitch(other, picture, smooth=True)[:, :40], before[:, :40])


def test_smoothing_keeps_a_constant_map_and_the_values_at_the_centres(make_map) -> None:
    one = make_map(attention="plain")
    flat = dataclasses.replace(one, value=np.full(16, 2.5))
    picture = frame((400, 400), (400, 400))
    assert np.allclose(stitch(flat, picture, smooth=True), 2.5)
    soft = stitch(one, picture, smooth=True)
    # Pixel 49 has its centre at 49.5, half a pixel from the patch's centre.
    np.testing.assert_allclose(soft[49::100, 49::100].ravel(), one.value, atol=0.01)
    middle = (one.value[0] + one.value[1]) / 2
    assert soft[49, 99:101].mean() == pytest.approx(middle, abs=0.01)


def test_regions_beyond_the_edge_of_the_slide_are_cut_there(make_map) -> None:
    one = make_map([(300, 200)], attention="plain")
    raster = stitch(one, frame((50, 30), (500, 300)), smooth=True)
    assert raster.shape == (30, 50)
    assert not np.isnan(raster[20:, 30:]).any()
    assert np.isnan(raster[:20]).all()
