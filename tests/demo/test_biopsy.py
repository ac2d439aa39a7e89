from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from hvit_cli.demo.biopsy import Biopsy, BiopsyPlan, draw_biopsy
from hvit_cli.demo.gleason import Pattern
from hvit_cli.demo.marks import DOT_RADIUS_UM
from hvit_cli.demo.outline import TRUTH_DOWNSAMPLE
from hvit_cli.demo.scanner import SCANNERS
from hvit_cli.errors import SettingsError
from hvit_cli.settings import ReadingSettings, TilingSettings, TissueSettings
from hvit_cli.slides.geometry import SlideGeometry, plan_reading
from hvit_cli.tissue.mask import mask_over_slide
from hvit_cli.tissue.regions import lay_regions
from hvit_cli.tissue.segmentation import segment_tissue

PLAN = BiopsyPlan(
    slide_id="small",
    seed=5,
    scanner="birch",
    tumour_share=0.3,
    mix={Pattern.GLEASON_4: 0.7, Pattern.GLEASON_3: 0.3},
    tissue_length_um=1500.0,
    folds=1,
    pen="green",
)


@cache
def drawn(*, dot: bool) -> Biopsy:
    return draw_biopsy(replace(PLAN, dot=dot))


def tissue_of(biopsy: Biopsy) -> np.ndarray:
    """Level-0 pixels of coarse pixels that hold tissue."""
    return np.kron(biopsy.classes > 0, np.ones((TRUTH_DOWNSAMPLE,) * 2, bool))


def test_the_same_plan_gives_the_same_pixels() -> None:
    again = draw_biopsy(PLAN)
    assert np.array_equal(again.picture, drawn(dot=False).picture)
    assert np.array_equal(again.classes, drawn(dot=False).classes)


def test_another_seed_gives_another_slide() -> None:
    other = draw_biopsy(replace(PLAN, seed=6))
    assert other.picture.shape != drawn(dot=False).picture.shape or not np.array_equal(
        other.classes, drawn(dot=False).classes
    )


def test_tumour_and_patterns_hold_the_areas_that_were_asked_for() -> None:
    area = drawn(dot=False).areas_mm2
    tumour = area[3] + area[4]
    assert tumour / sum(area.values()) == pytest.approx(0.3, abs=0.001)
    assert area[4] / tumour == pytest.approx(0.7, abs=0.001)
    assert (str(drawn(dot=False).gleason), drawn(dot=False).isup) == ("4+3", 3)


def test_benign_slide_has_no_tumour() -> None:
    biopsy = draw_biopsy(replace(PLAN, mix={}, tumour_share=0.0, pen=None, folds=0))
    assert set(np.unique(biopsy.classes)) == {0, 1}
    assert (biopsy.gleason, biopsy.isup) == (None, 0)


def test_glass_is_bright_and_tissue_is_stained() -> None:
    biopsy = draw_biopsy(replace(PLAN, pen=None))
    tissue = tissue_of(biopsy)
    glass = biopsy.picture[~np.roll(tissue, 8, 0) & ~np.roll(tissue, -8, 0) & ~tissue]
    assert glass.mean() == pytest.approx(np.mean(SCANNERS["birch"].glass_rgb), abs=6)
    assert biopsy.picture[tissue][:, 1].mean() < 190


def test_the_dot_changes_nothing_but_itself() -> None:
    without, dotted = drawn(dot=False), drawn(dot=True)
    assert np.array_equal(without.classes, dotted.classes)
    assert dotted.dot_xy_level0 is not None
    row, column = np.nonzero((without.picture != dotted.picture).any(axis=2))
    x, y = dotted.dot_xy_level0
    away = np.hypot(column - x, row - y)
    assert len(away) > 1000
    assert away.max() <= DOT_RADIUS_UM / dotted.spacing_um + 2


def test_the_dot_is_in_a_region_and_in_no_patch_with_tissue() -> None:
    """With the mask that hvit finds itself: masked attention must not see the dot."""
    biopsy = drawn(dot=True)
    rows, columns = biopsy.picture.shape[:2]
    step = 16
    mask = segment_tissue(
        biopsy.picture[: rows // step * step : step, : columns // step * step : step].copy(),
        biopsy.spacing_um * step,
        TissueSettings(),
    )
    size = (columns // step * step, rows // step * step)
    geometry = SlideGeometry(sizes=(size,), downsamples=(1.0,), spacing_um=biopsy.spacing_um)
    reading = ReadingSettings()
    regions = lay_regions(
        mask_over_slide(mask, size, biopsy.spacing_um, "segmented"),
        plan_reading(geometry, reading.spacing_um, reading.spacing_tolerance),
        TilingSettings(),
    ).kept
    assert biopsy.dot_xy_level0 is not None
    corner = regions.patch_origin_level0
    radius = DOT_RADIUS_UM / biopsy.spacing_um + 1
    centre = np.array(biopsy.dot_xy_level0)
    touched = ((corner < centre + radius) & (corner + regions.patch_level0 > centre - radius)).all(
        axis=-1
    )
    assert touched.any()
    assert not (regions.tissue_count[touched] > 0).any()


def test_unknown_scanner_is_named() -> None:
    with pytest.raises(SettingsError, match="no such scanner; found ash; wanted alder"):
        draw_biopsy(replace(PLAN, scanner="ash"))
