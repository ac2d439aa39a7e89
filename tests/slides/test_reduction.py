from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hvit_cli.slides.reduction import reduce_area, reduce_strips


def area_weights(n_in: int, n_out: int) -> npt.NDArray[np.float64]:
    """(n_out, n_in) share of each input pixel in each output pixel, by fine subdivision."""
    edges = np.linspace(0, n_in, n_out + 1)
    cumulative = np.stack([np.clip(edges - i, 0, 1) for i in range(n_in)], axis=1)
    return np.diff(cumulative, axis=0) * n_out / n_in


def exact_mean(rgb: npt.NDArray[np.uint8], width: int, height: int) -> npt.NDArray[np.float64]:
    rows = area_weights(rgb.shape[0], height)
    columns = area_weights(rgb.shape[1], width)
    return np.einsum("ij,jkc,lk->ilc", rows, rgb.astype(np.float64), columns)


sizes = st.tuples(st.integers(1, 90), st.integers(1, 90))


@settings(deadline=None)
@given(size=sizes, share=st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)), seed=st.integers(0, 99))
def test_every_pixel_is_the_mean_of_its_area(
    size: tuple[int, int], share: tuple[float, float], seed: int
) -> None:
    rgb = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    width, height = (max(1, int(n * s)) for n, s in zip(size, share, strict=True))
    expected = exact_mean(rgb, width, height)
    # 0.5 for rounding, and a little for sums in single precision.
    assert np.abs(reduce_area(rgb, (width, height)) - expected).max() <= 0.51
    cuts = np.sort(np.random.default_rng(seed).integers(0, size[1] + 1, 3))
    strips = [strip for strip in np.split(rgb, cuts) if len(strip)]
    assert np.abs(reduce_strips(strips, size, (width, height)) - expected).max() <= 0.51


def test_half_the_size_is_the_rounded_mean_of_four(noise) -> None:
    rgb = noise(64, 48)
    four = rgb.reshape(24, 2, 32, 2, 3).astype(int).sum(axis=(1, 3))
    np.testing.assert_array_equal(reduce_area(rgb, (32, 24)), (four + 2) // 4)


def test_the_same_size_is_the_same_picture(noise) -> None:
    rgb = noise(20, 10)
    np.testing.assert_array_equal(reduce_area(rgb, (20, 10)), rgb)


def test_one_colour_stays_that_colour() -> None:
    for value in (0, 1, 127, 254, 255):
        grey = np.full((283, 283, 3), value, np.uint8)
        assert (reduce_area(grey, (256, 256)) == value).all()
        assert (reduce_strips([grey[:100], grey[100:]], (283, 283), (17, 31)) == value).all()


def test_enlarging_is_a_bug_and_says_so(noise) -> None:
    with pytest.raises(ValueError, match="cannot enlarge"):
        reduce_area(noise(10, 10), (11, 10))
