from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from hvit_cli.pretraining.crops import UNIFORMS, cut, place_crops, turned

Pixels = npt.NDArray[np.uint8]
ASPECT = (3 / 4, 4 / 3)


def places(scale: tuple[float, float], count: int = 40_000) -> npt.NDArray[np.int64]:
    uniforms = np.random.default_rng(0).random((count, UNIFORMS))
    return place_crops(uniforms, 256, scale, ASPECT)


@pytest.fixture
def picture() -> Pixels:
    noise = np.random.default_rng(1).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    return np.asarray(cv2.GaussianBlur(noise, (0, 0), 2), np.uint8)


@pytest.mark.parametrize("scale", [(0.4, 1.0), (0.05, 0.4)])
def test_crops_lie_inside_the_patch_and_keep_area_and_aspect(scale: tuple[float, float]) -> None:
    left, top, width, height = places(scale).T
    assert (left >= 0).all()
    assert (top >= 0).all()
    assert (left + width).max() <= 256
    assert (top + height).max() <= 256
    # Sides are rounded to pixels, which moves area and aspect by about 1 / side.
    area, side = width * height / 256**2, min(width.min(), height.min())
    assert area.min() >= scale[0] * (1 - 1.5 / side)
    assert area.max() <= scale[1] * (1 + 1.5 / side)
    assert (width / height).min() >= ASPECT[0] * (1 - 1.5 / side)
    assert (width / height).max() <= ASPECT[1] * (1 + 1.5 / side)


def test_small_crops_have_uniform_area_log_uniform_aspect_and_uniform_place() -> None:
    # No rectangle of at most 0.4 of the area sticks out: sqrt(0.4 · 4/3) < 1, so nothing is
    # drawn twice and the distributions are those that were asked for.
    left, top, width, height = places((0.05, 0.4)).T
    area = width * height / 256**2
    edges = np.linspace(0.05, 0.4, 11)[1:-1]
    for edge in edges:
        assert (area < edge).mean() == pytest.approx((edge - 0.05) / 0.35, abs=0.015)
    log_aspect = np.log(width / height)
    low, high = np.log(ASPECT)
    for share in (0.1, 0.25, 0.5, 0.75, 0.9):
        assert (log_aspect < low + share * (high - low)).mean() == pytest.approx(share, abs=0.02)
    assert ((left + 0.5) / (257 - width)).mean() == pytest.approx(0.5, abs=0.01)
    assert ((top + 0.5) / (257 - height)).std() == pytest.approx(np.sqrt(1 / 12), abs=0.01)


def test_large_crops_follow_the_uniform_distribution_among_those_that_fit() -> None:
    # Acceptance-rejection: the density stays uniform over the (area, log aspect) that fit,
    # which is exp(|log aspect|) · area ≤ 1. Integrated over the aspect, the density of an
    # area a is proportional to min(log 4/3, -log a).
    left, top, width, height = places((0.4, 1.0)).T
    del left, top
    area = width * height / 256**2
    grid = np.linspace(0.4, 1.0, 6001)
    density = np.minimum(np.log(4 / 3), -np.log(grid))
    cumulative = np.cumsum(density) / density.sum()
    for edge in (0.5, 0.6, 0.7, 0.8, 0.9):
        expected = cumulative[np.searchsorted(grid, edge)]
        assert (area < edge).mean() == pytest.approx(expected, abs=0.015)


def test_a_crop_that_never_fits_is_the_largest_in_the_middle() -> None:
    uniforms = np.full((1, UNIFORMS), 0.999999)
    assert place_crops(uniforms, 256, (1.0, 1.0), (1.5, 2.0)).tolist() == [[0, 42, 256, 171]]


def test_shrinking_averages_areas_and_a_whole_factor_is_the_mean_of_blocks(
    picture: Pixels,
) -> None:
    crop = cut(picture, np.array([10, 20, 192, 192]), 96)
    blocks = picture[20:212, 10:202].reshape(96, 2, 96, 2, 3).mean(axis=(1, 3))
    assert np.abs(crop - blocks).max() <= 0.5 + 1e-6


def test_a_pattern_finer_than_the_crop_can_show_turns_grey_and_not_into_stripes() -> None:
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::2] = 255
    crop = cut(stripes, np.array([0, 0, 180, 180]), 90)
    assert set(np.unique(crop)) <= {127, 128}


def test_an_axis_that_grows_is_interpolated_while_the_other_is_averaged() -> None:
    ramp = np.zeros((256, 256, 3), np.uint8)
    ramp[:] = np.arange(256, dtype=np.uint8)[:, None, None]
    ramp[:, ::2, 1] = 0
    ramp[:, 1::2, 1] = 200
    crop = cut(ramp, np.array([0, 60, 192, 48]), 96)
    assert crop.shape == (96, 96, 3)
    # Linear interpolation by 2 keeps the ramp but for its ends: row i shows 60 + (i - 0.5) / 2.
    expected = 60 + (np.arange(96) + 0.5) / 2 - 0.5
    assert np.abs(crop[1:-1, :, 0] - expected[1:-1, None]).max() <= 0.51
    assert (crop[..., 1] == 100).all()


def test_a_crop_of_its_own_size_is_the_pixels_themselves(picture: Pixels) -> None:
    assert np.array_equal(cut(picture, np.array([3, 5, 96, 96]), 96), picture[5:101, 3:99])


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_turning_is_a_mirror_image_turned_by_quarters(
    picture: Pixels, mirrored: bool, quarters: int
) -> None:
    expected = np.rot90(picture[:, ::-1] if mirrored else picture, quarters)
    assert np.array_equal(turned(picture, mirrored=mirrored, quarters=quarters), expected)
