from __future__ import annotations

from dataclasses import replace

import pytest

from hvit_cli.measures.stress import StressRow, stress_page, summarise_stress
from hvit_cli.settings import StressSettings

ROW = StressRow(
    slide_id="a",
    model="m",
    attention="plain",
    glass="ink",
    edges=False,
    score=2.0,
    stressed_score=2.6,
    grade=2,
    stressed_grade=3,
    glass_patches=10,
    tissue_patches=6,
    glass_changed=4,
    tissue_changed=0,
)


def test_magnitudes_are_averaged_over_the_slides_that_changed() -> None:
    rows = [
        ROW,
        replace(ROW, slide_id="b", stressed_score=1.8, stressed_grade=2),
        replace(ROW, slide_id="c", stressed_score=2.0, stressed_grade=2, glass_changed=0),
    ]
    (found,) = summarise_stress(rows, 0, 0)
    assert found.change.slides == 2
    assert found.change.mean.value == pytest.approx(0.4)
    assert found.largest == pytest.approx(0.6)
    assert found.other_grade.mean.value == 0.5


def test_the_page_says_when_masked_scores_move() -> None:
    still = replace(ROW, attention="masked", stressed_score=2.0, stressed_grade=2)
    assert "did not move at all" in stress_page([ROW, still], StressSettings(draws=0))
    moved = stress_page([replace(ROW, attention="masked")], StressSettings(draws=0))
    assert "must not be" in moved
