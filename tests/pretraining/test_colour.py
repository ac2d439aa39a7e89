from __future__ import annotations

import colorsys

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch
from torchvision.transforms.v2 import functional as tv

from hvit_cli.pretraining.colour import blurred, changed, jitter_matrices, solarized

Pixels = npt.NDArray[np.uint8]


@pytest.fixture
def picture() -> Pixels:
    """Muted colours, which no change below clips."""
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    smooth = np.asarray(cv2.GaussianBlur(noise, (0, 0), 1.2), np.float64)
    return np.clip(smooth * 0.5 + np.array([60, 30, 55]), 0, 255).astype(np.uint8)


def jittered(
    picture: Pixels,
    *,
    brightness: float = 1.0,
    contrast: float = 1.0,
    saturation: float = 1.0,
    hue: float = 0.0,
) -> Pixels:
    linear, lift = jitter_matrices(
        *(np.array([value]) for value in (brightness, contrast, saturation, hue))
    )
    return changed(picture, linear[0], float(lift[0]))


def tensor(picture: Pixels) -> torch.Tensor:
    return torch.from_numpy(picture).permute(2, 0, 1).double() / 255


def array(floats: torch.Tensor) -> npt.NDArray[np.float64]:
    return (floats * 255).permute(1, 2, 0).numpy()


def test_nothing_asked_changes_nothing(picture: Pixels) -> None:
    assert np.array_equal(jittered(picture), picture)


@pytest.mark.parametrize("factor", [0.6, 0.9, 1.3])
def test_each_change_equals_torchvisions(picture: Pixels, factor: float) -> None:
    x = tensor(picture)
    for name, expected in (
        ("brightness", tv.adjust_brightness(x, factor)),
        ("contrast", tv.adjust_contrast(x, factor)),
        ("saturation", tv.adjust_saturation(x, factor)),
    ):
        found = jittered(picture, **{name: factor})
        # torchvision's weights of luma have four digits, ours three; rounding is half a unit.
        assert np.abs(found - array(expected)).max() < 0.7, name


def test_any_order_of_torchvisions_changes_gives_the_same(picture: Pixels) -> None:
    x = tensor(picture)
    forward = tv.adjust_saturation(tv.adjust_contrast(tv.adjust_brightness(x, 1.1), 0.8), 1.15)
    backward = tv.adjust_brightness(tv.adjust_contrast(tv.adjust_saturation(x, 1.15), 0.8), 1.1)
    found = jittered(picture, brightness=1.1, contrast=0.8, saturation=1.15)
    assert np.abs(found - array(forward)).max() < 0.7
    assert np.abs(found - array(backward)).max() < 0.7


def test_hue_keeps_luma_and_a_whole_turn_returns(picture: Pixels) -> None:
    weights = np.array([0.299, 0.587, 0.114])
    for hue in (-0.1, 0.05, 0.1):
        found = jittered(picture, hue=hue)
        assert np.abs(found @ weights - picture @ weights).max() < 0.51
        assert np.abs(found.astype(int) - picture).max() > 3
    assert np.array_equal(jittered(picture, hue=1.0), picture)


def test_hue_turns_the_way_of_the_colour_circle_and_about_as_far() -> None:
    # YIQ's circle is not that of HSV: the two agree in direction, and in angle to a half.
    for rgb in ((200, 120, 120), (120, 200, 120), (120, 120, 200), (190, 110, 170)):
        before = colorsys.rgb_to_hsv(*rgb)[0]
        colour = np.full((4, 4, 3), rgb, np.uint8)
        after = colorsys.rgb_to_hsv(*map(float, jittered(colour, hue=0.1)[0, 0]))[0]
        turned = (after - before + 0.5) % 1 - 0.5
        assert 0.05 < turned < 0.15, rgb


def test_without_saturation_a_crop_is_its_luma(picture: Pixels) -> None:
    found = jittered(picture, saturation=0.0, hue=0.07)
    grey = np.rint(picture @ np.array([0.299, 0.587, 0.114]))
    assert np.abs(found - grey[..., None]).max() <= 1
    assert (found[..., 0] == found[..., 1]).all()


def test_values_are_clipped_and_not_wrapped() -> None:
    bright = np.full((4, 4, 3), 250, np.uint8)
    assert (jittered(bright, brightness=1.4) == 255).all()


@pytest.mark.parametrize("sigma", [0.1, 0.7, 2.0])
def test_blur_is_a_gaussian(picture: Pixels, sigma: float) -> None:
    reach = round(sigma * 3 + 0.5)
    kernel = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * sigma**2))
    kernel /= kernel.sum()
    found = blurred(picture, sigma)
    y, x = 30, 33
    window = picture[y - reach : y + reach + 1, x - reach : x + reach + 1].astype(float)
    expected = np.einsum("i,j,ijc->c", kernel, kernel, window)
    # OpenCV's weights of 8-bit pictures are multiples of 1/256.
    assert np.abs(found[y, x] - expected).max() < 1.5


def test_solarizing_inverts_from_128_up() -> None:
    values = np.arange(256, dtype=np.uint8)[:, None, None].repeat(3, axis=2)
    found = solarized(values)[:, 0, 0].astype(int)
    assert found.tolist() == [v if v < 128 else 255 - v for v in range(256)]
