from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, roc_auc_score

from hvit_cli.pretraining.probe_measures import Told, difference, measure


def told_of(seed: int, q: int, classes: int, groups: int) -> Told:
    rng = np.random.default_rng(seed)
    label = np.concatenate([np.arange(classes), rng.integers(0, classes, q - classes)])
    share = rng.dirichlet(np.ones(classes), q)
    share[np.arange(q), label] += 0.3
    share = np.round(share / share.sum(1, keepdims=True), 2)  # with ties
    share[:, -1] = 1 - share[:, :-1].sum(1)
    return Told(label=label, share=share, group=rng.integers(0, groups, q))


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_the_numbers_equal_those_of_scikit_learn(classes: int) -> None:
    told = told_of(classes, 150, classes, 13)
    found = measure(told)
    assert found.balanced_accuracy.value == pytest.approx(
        balanced_accuracy_score(told.label, told.said)
    )
    assert found.accuracy.value == pytest.approx(accuracy_score(told.label, told.said))
    areas = [roc_auc_score(told.label == c, told.share[:, c]) for c in range(classes)]
    expected = areas[1] if classes == 2 else np.mean(areas)
    assert found.auroc.value == pytest.approx(expected, rel=1e-12)
    assert found.auroc.low is None


@pytest.mark.parametrize("classes", [2, 3])
def test_a_draw_is_the_measure_of_the_drawn_groups_patches(classes: int) -> None:
    told = told_of(9, 80, classes, 11)
    # Group numbers need not be gapless: another part of the table has the others.
    told = Told(label=told.label, share=told.share, group=told.group * 3 + 5)
    found = measure(told, draws=200, seed=4)
    names = np.unique(told.group)
    generator = np.random.default_rng([4, 201])
    drawn = generator.integers(len(names), size=(200, len(names)))
    numbers = []
    for draw in drawn:
        rows = np.concatenate([np.flatnonzero(told.group == names[g]) for g in draw])
        label, share = told.label[rows], told.share[rows]
        if len(np.unique(label)) < classes:
            continue
        areas = [roc_auc_score(label == c, share[:, c]) for c in range(classes)]
        numbers.append(
            (
                balanced_accuracy_score(label, share.argmax(1)),
                accuracy_score(label, share.argmax(1)),
                areas[1] if classes == 2 else np.mean(areas),
            )
        )
    assert len(numbers) == 200
    for n, interval in enumerate((found.balanced_accuracy, found.accuracy, found.auroc)):
        low, high = np.quantile([row[n] for row in numbers], [0.025, 0.975])
        assert interval.low == pytest.approx(low, rel=1e-9)
        assert interval.high == pytest.approx(high, rel=1e-9)


def test_a_difference_draws_the_same_groups_for_both() -> None:
    a = told_of(1, 90, 3, 9)
    b = Told(label=a.label, share=told_of(2, 90, 3, 9).share, group=a.group)
    found = difference(a, b, draws=300, seed=2)
    alone = [measure(told, draws=300, seed=2) for told in (a, b)]
    assert found.accuracy.value == pytest.approx(
        alone[0].accuracy.value - alone[1].accuracy.value  # type: ignore[operator]
    )
    generator = np.random.default_rng([2, 201])
    drawn = generator.integers(9, size=(300, 9))
    gaps = []
    for draw in drawn:
        rows = np.concatenate([np.flatnonzero(a.group == g) for g in draw])
        gaps.append((a.said[rows] == a.label[rows]).mean() - (b.said[rows] == b.label[rows]).mean())
    low, high = np.quantile(gaps, [0.025, 0.975])
    assert (found.accuracy.low, found.accuracy.high) == pytest.approx((low, high))
    same = difference(a, a, draws=50)
    assert (same.auroc.value, same.auroc.low, same.auroc.high) == (0, 0, 0)


def test_one_class_has_no_area_and_absent_classes_do_not_count() -> None:
    told = Told(
        label=np.array([1, 1, 1]),
        share=np.array([[0.2, 0.8, 0], [0.9, 0.1, 0], [0.3, 0.7, 0]]),
        group=np.arange(3),
    )
    found = measure(told, draws=50)
    assert found.auroc.value is None
    assert found.balanced_accuracy.value == pytest.approx(2 / 3)
