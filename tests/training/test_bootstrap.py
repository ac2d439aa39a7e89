from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from hvit_cli.training.bootstrap import (
    confusion_cells,
    interval,
    kappas,
    resample,
    resample_models,
    sums_by_group,
)


def graded(slides: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 6, slides)
    return label, np.clip(label + rng.integers(-2, 3, slides), 0, 5)


def drawn(statistics: np.ndarray, draws: int = 2000, seed: int = 0) -> np.ndarray:
    return np.concatenate(list(resample(statistics, draws, seed)))


def test_kappas_of_many_matrices_are_those_of_each() -> None:
    found, wanted = [], []
    for seed in range(5):
        label, grade = graded(50, seed)
        found.append(confusion_cells(label, grade, 6).sum(0).reshape(6, 6))
        wanted.append(cohen_kappa_score(label, grade, weights="quadratic", labels=range(6)))
    np.testing.assert_allclose(kappas(np.array(found)), wanted, rtol=1e-12)


def test_a_kappa_without_expected_disagreement_is_undefined() -> None:
    constant = confusion_cells(np.full(4, 2), np.full(4, 2), 6).sum(0).reshape(1, 6, 6)
    assert np.isnan(kappas(constant)).all()
    assert np.isnan(kappas(np.zeros((1, 6, 6)))).all()


def test_every_draw_takes_as_many_groups_as_there_are() -> None:
    sums = drawn(np.column_stack([np.ones(37), np.arange(37)]), 500)
    assert sums.shape == (500, 2)
    assert (sums[:, 0] == 37).all()
    # The mean of a draw varies with variance σ²/G.
    assert sums[:, 1].mean() / 37 == pytest.approx(18, abs=0.3)
    assert sums[:, 1].std() / 37 == pytest.approx(np.arange(37).std() / np.sqrt(37), rel=0.1)


def test_chunks_do_not_change_the_number_of_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hvit_cli.training.bootstrap._CHUNK", 100)
    assert len(drawn(np.ones((30, 1)), 2001)) == 2001


def test_the_seed_decides_the_draws() -> None:
    values = np.random.default_rng(0).normal(size=(40, 1))
    assert (drawn(values, 100, 1) == drawn(values, 100, 1)).all()
    assert (drawn(values, 100, 1) != drawn(values, 100, 2)).any()


def test_the_spread_of_kappa_is_that_of_the_jackknife() -> None:
    label, grade = graded(400)
    cells = confusion_cells(label, grade, 6)
    spread = kappas(drawn(cells, 4000).reshape(-1, 6, 6)).std()
    left_out = kappas((cells.sum(0) - cells).reshape(-1, 6, 6))
    jackknife = np.sqrt(399 * np.square(left_out - left_out.mean()).mean())
    assert spread == pytest.approx(jackknife, rel=0.06)


def test_twins_in_one_group_are_no_new_evidence() -> None:
    label, grade = graded(120)
    cells = confusion_cells(label, grade, 6)
    twins = sums_by_group(np.vstack([cells, cells]), [f"g{i:03d}" for i in range(120)] * 2)
    np.testing.assert_array_equal(twins, 2 * cells)
    alone = kappas(drawn(cells).reshape(-1, 6, 6))
    np.testing.assert_allclose(kappas(drawn(twins).reshape(-1, 6, 6)), alone)
    loose = kappas(drawn(np.vstack([cells, cells])).reshape(-1, 6, 6))
    assert loose.std() == pytest.approx(alone.std() / np.sqrt(2), rel=0.1)


def test_models_are_drawn_with_the_variance_of_a_mean() -> None:
    values = np.array([0.2, 0.5, 0.1, 0.9, 0.4])
    weights = resample_models(5, 20000, 0)
    assert np.allclose(weights.sum(1), 1)
    assert (weights @ values).mean() == pytest.approx(values.mean(), abs=0.005)
    assert (weights @ values).std() == pytest.approx(values.std(ddof=1) / np.sqrt(5), rel=0.03)
    assert (resample_models(1, 10, 0) == 1).all()


def test_an_interval_leaves_out_what_is_undefined() -> None:
    values = np.array([np.nan, *np.linspace(0, 1, 101)])
    found = interval(0.5, values, 0.9)
    assert (found.low, found.high) == pytest.approx((0.05, 0.95))
    assert interval(None, values).low is None
    assert interval(0.5, np.array([np.nan])).high is None
