"""Numbers that judge grades: quadratic weighted kappa and its company.

Everything here takes two sequences of equal length, what is true and what was predicted, and
is plain numpy. A grade is a class index from 0; ISUP grades have six classes. A value that is
not defined for the data at hand is None, never 0 and never NaN.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hvit_cli.errors import LabelError, ModelError

ISUP_GRADES = 6

Grades = npt.NDArray[np.int64]


def grade_of(score: npt.ArrayLike, grades: int = ISUP_GRADES) -> Grades:
    """The grades of regressed scores: rounded, halves to even, and clipped to the classes.

    Raises:
        ModelError: A score is not a finite number.
    """
    value = np.asarray(score, np.float64)
    if not np.isfinite(value).all():
        raise ModelError(
            "a score is not a number and has no grade", found=value[~np.isfinite(value)][0]
        )
    return np.clip(np.rint(value), 0, grades - 1).astype(np.int64)


def confusion_matrix(
    label: npt.ArrayLike, grade: npt.ArrayLike, grades: int = ISUP_GRADES
) -> npt.NDArray[np.int64]:
    """(grades, grades) counts; the row is the label, the column the predicted grade.

    Raises:
        LabelError: The two differ in length, or hold something that is not a class.
    """
    labels, predicted = np.asarray(label), np.asarray(grade)
    if labels.shape != predicted.shape or labels.ndim != 1:
        raise LabelError(
            "labels and grades must be two lists of one length",
            found=f"{labels.shape} and {predicted.shape}",
        )
    for values in (labels, predicted):
        outside = (values < 0) | (values >= grades) | (values != np.floor(values))
        if outside.any():
            raise LabelError(
                "not a grade", found=values[outside][0], wanted=f"a whole number, 0 to {grades - 1}"
            )
    cell = labels.astype(np.int64) * grades + predicted.astype(np.int64)
    return np.bincount(cell, minlength=grades**2).reshape(grades, grades)


def quadratic_kappa(
    label: npt.ArrayLike, grade: npt.ArrayLike, grades: int = ISUP_GRADES
) -> float | None:
    """Cohen's kappa with quadratic weights over all classes, met or not.

    kappa = 1 - Σ w·observed / Σ w·expected with w = (i - j)², the expected counts being the
    outer product of the margins (Cohen 1968).

    Returns:
        The kappa, or None where no disagreement is expected (both sides constant and equal,
        or nothing to compare) and kappa is undefined.
    """
    return kappa_of_confusion(confusion_matrix(label, grade, grades))


def kappa_of_confusion(counts: npt.NDArray[np.int64]) -> float | None:
    """The quadratic weighted kappa of a confusion matrix, None where it is undefined."""
    total = int(counts.sum())
    index = np.arange(len(counts))
    weight = np.square(index[:, None] - index[None, :])
    expected = int((weight * np.outer(counts.sum(axis=1), counts.sum(axis=0))).sum())
    if expected == 0:
        return None
    observed = int((weight * counts).sum())
    return 1.0 - observed * total / expected


def accuracy(label: npt.ArrayLike, grade: npt.ArrayLike) -> float | None:
    """Share of grades equal to the label; None of nothing."""
    return _mean(np.asarray(label) == np.asarray(grade))


def within_one(label: npt.ArrayLike, grade: npt.ArrayLike) -> float | None:
    """Share of grades at most one step from the label; None of nothing."""
    return _mean(np.abs(np.asarray(label) - np.asarray(grade)) <= 1)


def mean_absolute_error(label: npt.ArrayLike, score: npt.ArrayLike) -> float | None:
    """Mean distance of the unrounded score from the label; None of nothing."""
    return _mean(np.abs(np.asarray(label, np.float64) - np.asarray(score, np.float64)))


def mean_squared_error(label: npt.ArrayLike, score: npt.ArrayLike) -> float | None:
    """Mean squared distance of the unrounded score from the label; None of nothing."""
    return _mean(np.square(np.asarray(label, np.float64) - np.asarray(score, np.float64)))


def auroc(label: npt.ArrayLike, score: npt.ArrayLike) -> float | None:
    """Area under the receiver operating characteristic of labels 0 and 1.

    The share of pairs of a slide of each class in which the one of class 1 has the higher
    score, ties counting half (Mann and Whitney 1947). None where a class does not occur.
    """
    labels, scores = np.asarray(label), np.asarray(score, np.float64)
    positive, negative = np.sort(scores[labels == 1]), np.sort(scores[labels == 0])
    if not positive.size or not negative.size:
        return None
    below = np.searchsorted(negative, positive, side="left")
    not_above = np.searchsorted(negative, positive, side="right")
    return float((below + not_above).sum() / 2 / (positive.size * negative.size))


def _mean(values: npt.NDArray[np.bool_] | npt.NDArray[np.float64]) -> float | None:
    return float(np.mean(values)) if values.size else None
