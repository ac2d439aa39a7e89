from __future__ import annotations

import numpy as np
import pytest

from hvit_cli.measures.page import page
from hvit_cli.measures.records import MapMeasures, MapRow
from hvit_cli.measures.summary import mean_over_slides, summarise
from hvit_cli.settings import MeasureSettings

PLAIN = MapRow(model="m", trained="plain", run="plain", map="attention")
MASKED = MapRow(model="m", trained="masked", run="masked", map="attention")


def record(slide: int, row: MapRow, auroc: float | None) -> MapMeasures:
    return MapMeasures(
        slide_id=f"s{slide:02d}",
        row=row,
        patches=9,
        tissue_patches=5,
        positives=2,
        negatives=3,
        auroc=auroc,
    )


def test_means_are_over_slides_where_defined_and_differences_are_paired() -> None:
    plain = [0.1, 0.4, None, 0.6]
    masked = [0.3, 0.5, 0.9, None]
    records = [record(i, PLAIN, v) for i, v in enumerate(plain)]
    records += [record(i, MASKED, v) for i, v in enumerate(masked)]
    first, second = summarise(records, 500, 0)
    assert first.row == PLAIN
    assert not first.against_plain
    assert first.measures["auroc"].slides == 3
    assert first.measures["auroc"].mean.value == pytest.approx(1.1 / 3)
    assert second.against_plain["auroc"].slides == 2
    assert second.against_plain["auroc"].mean.value == pytest.approx(0.15)
    assert second.measures["gain"].slides == 0
    text = page([first, second], records, MeasureSettings())
    assert "mean prevalence 0.400" in text
    assert "| m: masked: attention |" in text


def test_the_interval_is_about_as_wide_as_theory_says() -> None:
    values = np.random.default_rng(1).normal(3, 2, 400)
    mean = mean_over_slides(values, 4000, 0).mean
    expected = 1.96 * values.std() / 20
    assert mean.value == pytest.approx(values.mean())
    assert mean.low == pytest.approx(values.mean() - expected, abs=0.03)
    assert mean.high == pytest.approx(values.mean() + expected, abs=0.03)


def test_without_draws_there_is_no_interval() -> None:
    mean = mean_over_slides(np.array([1.0, np.nan]), 0, 0).mean
    assert (mean.value, mean.low) == (1.0, None)
