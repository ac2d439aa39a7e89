from __future__ import annotations

import numpy as np
import pytest

from hvit_cli.training.bootstrap import Interval
from hvit_cli.training.comparison import PairedGrades, compare_arms, verdict
from hvit_cli.training.measures import Resampling
from hvit_cli.training.metrics import quadratic_kappa


def noisy(label: np.ndarray, sd: float, rng: np.random.Generator) -> np.ndarray:
    return np.clip(np.rint(label + rng.normal(0, sd, len(label))), 0, 5).astype(np.int64)


def pair(
    label: np.ndarray, a: np.ndarray, b: np.ndarray, name: str = "all", group: object = None
) -> PairedGrades:
    ids = [f"s{i:05d}" for i in range(len(label))] if group is None else list(group)
    return PairedGrades(name=name, label=label, a=a, b=b, group=ids)


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [(-0.01, 0.03, "yes"), (-0.03, 0.01, "undecided"), (-0.05, -0.03, "no"), (0.01, 0.02, "yes")],
)
def test_the_verdict_is_where_the_interval_lies(low: float, high: float, said: str) -> None:
    assert verdict(Interval(value=0.0, low=low, high=high), 0.02) == said
    assert verdict(Interval(value=None), 0.02) == "undecided"


def test_equal_arms_do_not_differ_in_any_draw() -> None:
    rng = np.random.default_rng(0)
    label = rng.integers(0, 6, 60)
    grade = noisy(label, 1, rng)
    found = compare_arms([pair(label, grade, grade)], margin=0.02, slides=60, how=Resampling())
    assert (found.difference.low, found.difference.value, found.difference.high) == (0, 0, 0)
    assert found.non_inferior == "yes"
    assert found.kappa_a == found.kappa_b


def test_arms_that_give_every_slide_one_grade_leave_it_undecided() -> None:
    """Both kappas are 0 in every draw, an interval without width, and nothing is shown."""
    label = np.random.default_rng(0).integers(0, 6, 60)
    ones, twos = np.ones(60, np.int64), np.full(60, 2)
    found = compare_arms([pair(label, ones, twos)], margin=0.02, slides=60, how=Resampling())
    assert (found.difference.low, found.difference.high) == (0, 0)
    assert found.non_inferior == "undecided"


def test_the_spread_of_the_difference_is_that_of_the_jackknife() -> None:
    rng = np.random.default_rng(1)
    label = rng.integers(0, 6, 300)
    a, b = noisy(label, 1.0, rng), noisy(label, 0.8, rng)
    found = compare_arms([pair(label, a, b)], margin=0.02, slides=300, how=Resampling(draws=4000))
    keep = ~np.eye(300, dtype=bool)
    left_out = np.array(
        [quadratic_kappa(label[k], a[k]) - quadratic_kappa(label[k], b[k]) for k in keep]
    )
    error = np.sqrt(299 * np.square(left_out - left_out.mean()).mean())
    assert found.difference.low is not None
    assert found.difference.high is not None
    assert found.difference.high - found.difference.low == pytest.approx(2 * 1.96 * error, rel=0.08)
    assert found.difference.value == pytest.approx(
        quadratic_kappa(label, a) - quadratic_kappa(label, b)
    )


def test_pairing_knows_the_difference_better_than_either_kappa() -> None:
    rng = np.random.default_rng(2)
    label = rng.integers(0, 6, 400)
    b = noisy(label, 1, rng)
    a = np.where(rng.random(400) < 0.05, noisy(label, 1, rng), b)
    found = compare_arms([pair(label, a, b)], margin=0.02, slides=400, how=Resampling())
    width = found.difference.high - found.difference.low
    assert width < 0.5 * (found.kappa_a.high - found.kappa_a.low)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    """Two arms of equal noise: the true difference is 0, and 95 % of intervals hold it."""
    rng = np.random.default_rng(3)
    held = 0
    for seed in range(200):
        label = rng.integers(0, 6, 80)
        arms = noisy(label, 1, rng), noisy(label, 1, rng)
        how = Resampling(draws=2000, seed=seed)
        found = compare_arms([pair(label, *arms)], margin=0.02, slides=80, how=how)
        held += found.difference.low <= 0 <= found.difference.high
    # Within three binomial standard deviations, and the percentile interval's known optimism.
    assert 178 <= held <= 199


def test_models_that_differ_widen_the_interval() -> None:
    """With many slides the spread of the pairs remains: s/√R, as for any mean."""
    rng = np.random.default_rng(4)
    label = rng.integers(0, 6, 6000)
    noise = [0.6, 1.2, 0.7, 1.1, 0.9, 1.3]
    b = noisy(label, 0.9, rng)
    pairs = [pair(label, noisy(label, sd, rng), b, f"seed {k}") for k, sd in enumerate(noise)]
    found = compare_arms(pairs, margin=0.02, slides=6000, how=Resampling(draws=2000))
    gaps = np.array([p.kappa_a - p.kappa_b for p in found.pairs])
    assert found.difference.value == pytest.approx(gaps.mean())
    width = found.difference.high - found.difference.low
    assert width == pytest.approx(2 * 1.96 * gaps.std(ddof=1) / np.sqrt(6), rel=0.15)
    assert found.non_inferior == "undecided"


def test_slides_are_drawn_jointly_for_all_models() -> None:
    """Three copies of one model are one model: their mean varies as much as each of them."""
    rng = np.random.default_rng(5)
    label = rng.integers(0, 6, 150)
    a, b = noisy(label, 1, rng), noisy(label, 1, rng)
    how = Resampling()
    one = compare_arms([pair(label, a, b)], margin=0.02, slides=150, how=how)
    three = compare_arms([pair(label, a, b)] * 3, margin=0.02, slides=150, how=how)
    assert three.difference.low == pytest.approx(one.difference.low)
    assert three.difference.high == pytest.approx(one.difference.high)


def test_folds_of_other_slides_share_the_draws_of_groups() -> None:
    rng = np.random.default_rng(6)
    label = rng.integers(0, 6, 200)
    a, b = noisy(label, 1, rng), noisy(label, 1, rng)
    names = [f"g{i // 2}" for i in range(200)]
    pairs = [
        PairedGrades(
            name=f"fold {k}",
            label=label[p],
            a=a[p],
            b=b[p],
            group=[names[i] for i in range(200)[p]],
        )
        for k, p in enumerate((slice(0, 100), slice(100, 200)))
    ]
    found = compare_arms(pairs, margin=0.02, slides=200, how=Resampling())
    assert found.groups == 100
    assert found.difference.low < found.difference.value < found.difference.high


def test_a_pair_that_was_not_drawn_leaves_the_draw_defined() -> None:
    """0 × NaN is NaN: a pair of one class must not spoil the draws without it."""
    rng = np.random.default_rng(7)
    label = rng.integers(0, 6, 100)
    good = [pair(label, noisy(label, 1, rng), noisy(label, 1, rng), f"{k}") for k in range(3)]
    ones = np.ones(100, np.int64)
    found = compare_arms(
        [*good, pair(ones, ones, ones, "constant")], margin=0.02, slides=100, how=Resampling()
    )
    assert found.difference.value is None
    # Three pairs of four are drawn, each time without the constant one with (3/4)³.
    assert found.undefined_draws / 2000 == pytest.approx(1 - 0.75**3, abs=0.05)
    assert found.non_inferior == "undecided"
