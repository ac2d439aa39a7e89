from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score, roc_auc_score

from hvit_cli.errors import LabelError
from hvit_cli.training.measures import Graded, Resampling, measure


def slides(count: int, classes: int = 6, scored: bool = True, seed: int = 0) -> Graded:
    rng = np.random.default_rng(seed)
    label = rng.integers(0, classes, count)
    score = label + rng.normal(size=count)
    return Graded(
        slide_ids=[f"s{i}" for i in range(count)],
        label=label,
        grade=np.clip(np.rint(score), 0, classes - 1).astype(np.int64),
        score=score if scored else np.full(count, np.nan),
    )


def test_the_numbers_are_those_of_independent_formulas() -> None:
    s = slides(300)
    found = measure(s, Resampling())
    wanted = cohen_kappa_score(s.label, s.grade, weights="quadratic", labels=range(6))
    assert found.kappa.value == pytest.approx(wanted)
    assert found.accuracy.value == pytest.approx((s.label == s.grade).mean())
    assert found.within_one.value == pytest.approx((abs(s.label - s.grade) <= 1).mean())
    assert found.mae.value == pytest.approx(np.abs(s.label - s.score).mean())
    assert found.mae_of == "score"
    assert found.auroc is None
    for interval in (found.kappa, found.accuracy, found.within_one, found.mae):
        assert interval.low is not None
        assert interval.high is not None
        assert interval.value is not None
        assert interval.low < interval.value < interval.high
    # The share's interval against the normal approximation of the binomial.
    p = found.accuracy.value
    half = 1.96 * np.sqrt(p * (1 - p) / 300)
    assert (found.accuracy.low, found.accuracy.high) == pytest.approx(
        (p - half, p + half), abs=0.01
    )


def test_without_scores_the_error_is_that_of_the_grade() -> None:
    s = slides(50, scored=False)
    found = measure(s, Resampling(draws=0))
    assert found.mae.value == pytest.approx(np.abs(s.label - s.grade).mean())
    assert found.mae_of == "grade"
    assert found.mae.low is None


def test_two_classes_have_an_auroc() -> None:
    s = slides(80, classes=2)
    found = measure(s, Resampling(draws=0, grades=2))
    assert found.auroc == pytest.approx(roc_auc_score(s.label, s.score))


def test_nothing_and_one_class_are_undefined_and_said_so() -> None:
    s = slides(40)
    nothing = measure(s.only(np.zeros(40, bool)), Resampling(draws=2000))
    assert (nothing.slides, nothing.kappa.value, nothing.mae.value) == (0, None, None)
    one = Graded(
        slide_ids=["a", "b", "c"],
        label=np.array([1, 1, 2]),
        grade=np.array([1, 1, 2]),
        score=np.array([1.0, 1.1, 2.2]),
    )
    found = measure(one, Resampling(draws=2000))
    assert found.kappa.value == 1
    # A draw of one class only has probability (2/3)³ + (1/3)³ = 1/3.
    assert found.undefined_draws / 2000 == pytest.approx(1 / 3, abs=0.04)


def test_groups_widen_the_interval() -> None:
    s = slides(200)
    grouped = Graded(
        slide_ids=s.slide_ids,
        label=np.repeat(s.label[:40], 5),
        grade=np.repeat(s.grade[:40], 5),
        score=np.repeat(s.score[:40], 5),
        group=[f"g{i // 5}" for i in range(200)],
    )
    loose = Graded(**{**vars(grouped), "group": None})
    a, b = measure(grouped, Resampling()), measure(loose, Resampling())
    assert (a.groups, b.groups) == (40, 200)
    assert a.kappa.value == b.kappa.value
    assert a.kappa.high - a.kappa.low > 1.5 * (b.kappa.high - b.kappa.low)


def test_something_else_than_a_class_is_refused() -> None:
    s = slides(10)
    with pytest.raises(LabelError, match="not a grade"):
        measure(s, Resampling(grades=3))
