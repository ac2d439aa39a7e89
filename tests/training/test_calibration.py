from __future__ import annotations

import numpy as np
import pytest

from hvit_cli.training.calibration import calibration


def test_a_line_is_found_again() -> None:
    score = np.linspace(0, 5, 101)
    found = calibration(0.8 * score + 0.3, score)
    assert found is not None
    assert found.slope == pytest.approx(0.8)
    assert found.intercept == pytest.approx(0.3)
    assert found.bias == pytest.approx((score - 0.8 * score - 0.3).mean())
    assert len(found.bins) == 10
    assert sum(b.slides for b in found.bins) == 101
    wanted = sum(b.slides * abs(b.score - 0.8 * b.score - 0.3) for b in found.bins) / 101
    assert found.error == pytest.approx(wanted)


def test_a_perfect_score_has_no_error() -> None:
    label = np.repeat(range(6), 5)
    found = calibration(label, label)
    assert found is not None
    assert (found.bias, found.slope, found.error) == (0, pytest.approx(1), 0)


def test_the_slope_is_least_squares() -> None:
    rng = np.random.default_rng(0)
    label = rng.integers(0, 6, 80)
    score = label + rng.normal(size=80)
    found = calibration(label, score)
    assert found is not None
    assert (found.slope, found.intercept) == pytest.approx(tuple(np.polyfit(score, label, 1)))


def test_what_is_undefined() -> None:
    assert calibration([], []) is None
    constant = calibration([1, 2, 3], [2, 2, 2])
    assert constant is not None
    assert constant.slope is None
    assert constant.intercept is None
    few = calibration([1, 2], [1.2, 1.9])
    assert few is not None
    assert len(few.bins) == 2
