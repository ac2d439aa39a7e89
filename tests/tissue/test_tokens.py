from __future__ import annotations

import numpy as np
import pytest

from hvit_cli.errors import TissueError
from hvit_cli.tissue.coverage import count_pixels
from hvit_cli.tissue.mask import Source, TissueMask, mask_over_slide
from hvit_cli.tissue.tokens import tokens_with_tissue


def mask_of(pixels: np.ndarray, step: int, spacing_um: float, source: Source) -> TissueMask:
    height, width = pixels.shape
    return mask_over_slide(pixels, (width * step, height * step), spacing_um / step, source)


def test_a_token_holds_tissue_where_a_mask_pixel_has_its_centre_in_it() -> None:
    pixels = np.zeros((64, 96), np.uint8)
    pixels[10, 37] = 1  # centre at level-0 pixel (150, 42)
    mask = mask_of(pixels, 4, 2.0, "segmented")
    found = tokens_with_tissue(
        mask, np.array([[128.0, 32.0], [0.0, 0.0], [144.0, 32.0]]), 64.0, 4, where="s"
    )
    # (150 - 128) // 16 = 1, (42 - 32) // 16 = 0; the second patch holds none; then 0, 0.
    assert [np.flatnonzero(row).tolist() for row in found] == [[1], [], [0]]


def test_tokens_divide_a_patch_among_them() -> None:
    rng = np.random.default_rng(0)
    mask = mask_of((rng.random((300, 400)) < 0.02).astype(np.uint8), 3, 1.5, "external")
    origin = rng.random((40, 2)) * [900, 700]
    patch_level0, side = 77.3, 7
    found = tokens_with_tissue(mask, origin, patch_level0, side, where="s")
    steps = np.array([0, patch_level0])
    whole, _ = count_pixels(mask, origin[:, :1] + steps, origin[:, 1:] + steps)
    np.testing.assert_array_equal(found.any(axis=1), whole[:, 0, 0] > 0)
    # Every pixel by hand: whose centre lies in which token.
    y, x = np.nonzero(mask.pixels)
    for row, (left, top) in zip(found, origin, strict=True):
        column = np.floor(((x + 0.5) * 3 - left) / patch_level0 * side)
        line = np.floor(((y + 0.5) * 3 - top) / patch_level0 * side)
        inside = (column >= 0) & (column < side) & (line >= 0) & (line < side)
        expected = np.zeros(side**2, bool)
        expected[(line * side + column)[inside].astype(int)] = True
        np.testing.assert_array_equal(row, expected)


@pytest.mark.parametrize(
    ("spacing_um", "source", "says"),
    [
        (8.0, "segmented", "--segment-spacing 2 with --overwrite"),
        (2.3, "segmented", "--segment-spacing 1.6"),
        (4.0, "external", "a finer mask"),
    ],
)
def test_a_coarse_mask_is_refused_with_what_to_pass(
    spacing_um: float, source: Source, says: str
) -> None:
    mask = mask_of(np.ones((8, 8), np.uint8), 4, spacing_um, source)
    with pytest.raises(TissueError, match="too coarse") as caught:
        tokens_with_tissue(mask, np.zeros((1, 2)), 16.0, 2, where="slide-1")
    assert says in str(caught.value)
    assert "slide-1" in str(caught.value)


def test_a_mask_near_two_micrometres_will_do() -> None:
    mask = mask_of(np.ones((8, 8), np.uint8), 4, 2.02, "segmented")
    assert tokens_with_tissue(mask, np.zeros((1, 2)), 16.0, 2, where="s").all()
