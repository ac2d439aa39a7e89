from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score
from sklearn.metrics import confusion_matrix as sklearn_confusion

from hvit_cli.errors import LabelError, ModelError
from hvit_cli.training.metrics import (
    accuracy,
    confusion_matrix,
    grade_of,
    mean_absolute_error,
    mean_squared_error,
    quadratic_kappa,
    within_one,
)

PAIRS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=60)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@given(PAIRS)
def test_kappa_equals_scikit_learns_over_all_six_grades(pairs: list[tuple[int, int]]) -> None:
    label, grade = zip(*pairs, strict=True)
    kappa = quadratic_kappa(label, grade)
    if len({*label, *grade}) == 1:
        assert kappa is None
    else:
        wanted = cohen_kappa_score(label, grade, labels=range(6), weights="quadratic")
        assert kappa == pytest.approx(wanted, abs=1e-12)


@given(PAIRS)
def test_confusion_matrix_equals_scikit_learns(pairs: list[tuple[int, int]]) -> None:
    label, grade = zip(*pairs, strict=True)
    wanted = sklearn_confusion(label, grade, labels=range(6))
    np.testing.assert_array_equal(confusion_matrix(label, grade), wanted)


def test_kappa_of_constant_and_different_sides_is_zero_and_defined() -> None:
    assert quadratic_kappa([2, 2, 2], [3, 3, 3]) == 0


def test_kappa_is_undefined_when_both_sides_are_one_grade_or_nothing_is_compared() -> None:
    assert quadratic_kappa([4, 4], [4, 4]) is None
    assert quadratic_kappa([], []) is None


def test_kappa_of_opposite_extremes() -> None:
    # Two slides, exactly exchanged: observed 25 + 25, expected (25 + 25) / 2.
    assert quadratic_kappa([0, 5], [5, 0]) == -1


def test_public_predictions_of_panda(data: Path) -> None:
    table = rows(data / "panda/public_predictions.csv")
    label = [int(row["isup_grade"]) for row in table]
    preds = [int(row["preds"]) for row in table]
    raw = [float(row["probs_raw"]) for row in table]
    assert quadratic_kappa(label, preds) == pytest.approx(0.876001, abs=5e-7)
    assert quadratic_kappa(label, grade_of(raw)) == pytest.approx(0.876001, abs=5e-7)


@pytest.mark.parametrize(
    ("column", "value", "wanted", "tolerance"),
    [
        ("data_provider", "karolinska", 0.892225, 5e-7),
        ("data_provider", "radboud", 0.831887, 5e-7),
        ("kfold", "1", 0.8782, 5e-5),
        ("kfold", "2", 0.8722, 5e-5),
        ("kfold", "3", 0.8802, 5e-5),
        ("kfold", "4", 0.8857, 5e-5),
        ("kfold", "5", 0.8619, 5e-5),
    ],
)
def test_public_predictions_by_part(
    data: Path, column: str, value: str, wanted: float, tolerance: float
) -> None:
    part = [r for r in rows(data / "panda/public_predictions.csv") if r[column] == value]
    kappa = quadratic_kappa([int(r["isup_grade"]) for r in part], [int(r["preds"]) for r in part])
    assert kappa == pytest.approx(wanted, abs=tolerance)


def test_challenge_example(data: Path) -> None:
    reference = rows(data / "panda/challenge_example_reference.csv")
    submission = {
        row["image_id"]: int(row["isup_grade"])
        for row in rows(data / "panda/challenge_example_submission.csv")
    }
    label = [int(row["isup_grade"]) for row in reference]
    grade = [submission[row["image_id"]] for row in reference]
    assert quadratic_kappa(label, grade) == pytest.approx(0.7788604459, abs=5e-11)


@pytest.mark.parametrize(
    ("score", "grade"),
    [(0.5, 0), (1.5, 2), (2.5, 2), (3.5, 4), (4.5, 4), (-3.2, 0), (5.5, 5), (17.0, 5), (2.49, 2)],
)
def test_grade_rounds_halves_to_even_and_clips(score: float, grade: int) -> None:
    assert grade_of([score]).tolist() == [grade]


def test_a_score_that_is_no_number_has_no_grade() -> None:
    with pytest.raises(ModelError, match="not a number"):
        grade_of([1.0, float("nan")])


def test_company_of_kappa_by_hand() -> None:
    label, grade, score = [0, 1, 2, 5], [0, 2, 2, 3], [0.25, 1.75, 2.0, 3.0]
    assert accuracy(label, grade) == 0.5
    assert within_one(label, grade) == 0.75
    assert mean_absolute_error(label, score) == 0.75
    assert mean_squared_error(label, score) == (0.0625 + 0.5625 + 4) / 4
    assert accuracy([], []) is None


def test_a_grade_outside_the_classes_is_refused() -> None:
    with pytest.raises(LabelError, match="not a grade; found 6; wanted a whole number, 0 to 5"):
        quadratic_kappa([0, 6], [0, 1])
    with pytest.raises(LabelError, match="one length"):
        quadratic_kappa([0, 1], [0])
