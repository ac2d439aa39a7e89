from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from hvit_cli.settings import TilingSettings
from hvit_cli.slides.geometry import ReadingPlan
from hvit_cli.tissue.mask import TissueMask
from hvit_cli.tissue.picture import draw_overview
from hvit_cli.tissue.regions import RegionLayout, lay_regions

MaskOf = Callable[..., TissueMask]
WHITE = np.full((400, 600, 3), 255, np.uint8)
RED, ORANGE, BLUE = (215, 0, 40), (235, 120, 0), (20, 60, 200)


def layout_of(mask: TissueMask) -> RegionLayout:
    plan = ReadingPlan(
        level=0, downsample=1.0, spacing_um_level0=0.5, spacing_um=8.0, resampled=True
    )
    return lay_regions(mask, plan, TilingSettings(region_px=64, patch_px=16))


def shows(picture: np.ndarray, colour: tuple[int, int, int]) -> bool:
    return bool((picture[:400] == colour).all(axis=2).any())


def test_kept_rejected_and_dropped_are_drawn_each_in_its_way(mask_of: MaskOf) -> None:
    mask = mask_of((10, 10, 74, 70), (200, 100, 215, 112))
    picture = draw_overview(WHITE, mask, layout_of(mask), title="slide")
    assert all(shows(picture, colour) for colour in (RED, ORANGE, BLUE))
    kept_only = mask_of((10, 10, 74, 70))
    picture = draw_overview(WHITE, kept_only, layout_of(kept_only))
    assert shows(picture, BLUE)
    assert not shows(picture, RED)
    assert not shows(picture, ORANGE)


def test_background_patches_are_grey_and_tissue_keeps_its_colour(mask_of: MaskOf) -> None:
    mask = mask_of((10, 10, 40, 70))
    picture = draw_overview(WHITE, mask, layout_of(mask))
    assert tuple(picture[50, 50]) == (255, 255, 255)
    assert tuple(picture[50, 136]) == (165, 165, 165)


def test_a_drawn_slide_is_not_changed_and_a_legend_is_added(mask_of: MaskOf) -> None:
    slide = WHITE.copy()
    picture = draw_overview(slide, mask_of((10, 10, 74, 70)), title="a [slide] of λ")
    assert (slide == 255).all()
    assert picture.dtype == np.uint8
    assert picture.shape[0] > 400


@pytest.mark.parametrize("shape", [(5, 7, 3), (900, 60, 3), (40, 1600, 3)])
def test_every_shape_of_slide_can_be_drawn(mask_of: MaskOf, shape: tuple[int, int, int]) -> None:
    mask = mask_of((10, 10, 74, 70), (200, 100, 215, 112))
    picture = draw_overview(np.full(shape, 255, np.uint8), mask, layout_of(mask), title="x" * 80)
    assert picture.shape[0] > shape[0]


def test_an_empty_slide_can_be_drawn(mask_of: MaskOf) -> None:
    assert draw_overview(WHITE, mask_of(), layout_of(mask_of())).shape[1] == 600
