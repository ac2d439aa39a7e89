from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from hvit_cli.demo.cohort import TUMOUR_SHARE, CohortPlan, Confounder, pattern_mix, plan_cohort
from hvit_cli.demo.gleason import isup_of_areas
from hvit_cli.errors import SettingsError

COHORT = CohortPlan(name="slide", slides=36, seed=3)


def test_grades_and_scanners_are_balanced() -> None:
    plans = list(plan_cohort(COHORT))
    assert set(Counter(grade for _, grade in plans).values()) == {6}
    pairs = Counter((grade, plan.scanner) for plan, grade in plans)
    assert len(pairs) == 18
    assert set(pairs.values()) == {2}


def test_every_slide_has_its_own_name_and_seed() -> None:
    plans = [plan for plan, _ in plan_cohort(COHORT)]
    assert len({plan.slide_id for plan in plans}) == len({plan.seed for plan in plans}) == 36


@pytest.mark.parametrize("grade", range(6))
def test_a_mix_makes_its_grade(grade: int) -> None:
    rng = np.random.default_rng(grade)
    for _ in range(50):
        mix = pattern_mix(rng, grade)
        assert isup_of_areas({int(p): share for p, share in mix.items()}) == grade
        assert sum(mix.values()) == pytest.approx(1.0 if grade else 0.0)


def test_tumour_share_is_log_uniform_and_the_same_for_every_grade() -> None:
    plans = list(plan_cohort(replace(COHORT, slides=240)))
    logs = {
        grade: [np.log(plan.tumour_share) for plan, g in plans if g == grade]
        for grade in range(1, 6)
    }
    low, high = np.log(TUMOUR_SHARE)
    everything = np.concatenate(list(logs.values()))
    assert everything.min() >= low
    assert everything.max() <= high
    # A uniform variable's mean and deviation, within four standard errors.
    assert everything.mean() == pytest.approx((low + high) / 2, abs=0.36)
    for values in logs.values():
        assert np.mean(values) == pytest.approx((low + high) / 2, abs=0.8)


def test_the_confounder_changes_the_dots_and_nothing_else() -> None:
    bare = [plan for plan, _ in plan_cohort(COHORT)]
    confounder = Confounder(correlation=0.9, share=0.6)
    dotted = [plan for plan, _ in plan_cohort(replace(COHORT, confounder=confounder))]
    assert any(plan.dot for plan in dotted)
    assert [replace(plan, dot=False) for plan in dotted] == bare


@pytest.mark.parametrize("correlation", [-0.9, 0.0, 0.5, 0.9])
def test_the_dot_has_the_correlation_that_was_asked_for(correlation: float) -> None:
    grades = [0, 1, 2, 3, 4, 5] * 2000
    dots = Confounder(correlation=correlation).dots(grades, seed=1)
    high = [grade >= 3 for grade in grades]
    assert np.corrcoef(high, dots)[0, 1] == pytest.approx(correlation, abs=0.03)


def test_only_a_share_of_the_slides_can_bear_the_dot() -> None:
    dots = Confounder(correlation=1.0, share=0.25).dots([5] * 8000, seed=1)
    assert np.mean(dots) == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize("arguments", [{"correlation": 1.5}, {"share": -0.1}])
def test_impossible_confounders_are_refused(arguments: dict[str, float]) -> None:
    with pytest.raises(SettingsError, match="no such"):
        Confounder(**arguments)
