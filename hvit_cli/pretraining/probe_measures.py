"""How well a probe told labelled patches: balanced accuracy, accuracy, AUROC, and intervals.

Intervals draw groups with replacement, since patches of one field or slide are alike. Letters:
q patches that were told, C classes, G groups, B draws.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hvit_cli.training.bootstrap import Interval, confusion_cells, interval, resample

Floats = npt.NDArray[np.float64]
Classes = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a probe said about patches.

    Attributes:
        label: (q,) what they show.
        share: (q, C) share of the votes for each class; the largest, of equals the first, is
            what was said.
        group: (q,) number of the group.
    """

    label: Classes
    share: Floats
    group: Classes

    @property
    def said(self) -> Classes:
        """(q,) the class that was said."""
        said: Classes = self.share.argmax(axis=1)
        return said


@dataclass(frozen=True)
class ProbeMeasures:
    """Numbers of one probe.

    Attributes:
        balanced_accuracy: Mean over the classes that occur of the share of their patches that
            was told rightly.
        accuracy: Share of all patches that was told rightly.
        auroc: Area under the ROC curve: of two classes that of the second one's share, of more
            the mean over classes of each against the rest. None where one class is all there is.
    """

    balanced_accuracy: Interval
    accuracy: Interval
    auroc: Interval


def measure(told: Told, *, draws: int = 0, seed: int = 0) -> ProbeMeasures:
    """Measures what a probe said.

    Args:
        told: What it said.
        draws: Draws of groups for the intervals; 0 gives none. Draws of equal seed over the
            same groups are the same, so that encoders can be compared draw by draw.
        seed: Seed of the draws.
    """
    return ProbeMeasures(*map(_interval, _drawn(told, draws, seed)))


def difference(a: Told, b: Told, *, draws: int, seed: int = 0) -> ProbeMeasures:
    """How much better one kind of features told the same patches than another.

    Args:
        a: The answers in question.
        b: The answers they are measured by, of the same patches in the same order.
        draws: Draws of groups; each draw measures both.
        seed: Seed of the draws.

    Returns:
        The measures of `a` less those of `b`.
    """
    both = zip(_drawn(a, draws, seed), _drawn(b, draws, seed), strict=True)
    return ProbeMeasures(*(_interval(of_a - of_b) for of_a, of_b in both))


def _drawn(told: Told, draws: int, seed: int) -> tuple[Floats, Floats, Floats]:
    """(1 + B,) balanced accuracy, accuracy and AUROC: of all groups, then of each draw."""
    names, group = np.unique(told.group, return_inverse=True)
    weights = np.ones((1, len(names)))
    if draws:
        weights = np.concatenate([weights, *resample(np.eye(len(names)), draws, seed)])
    classes = told.share.shape[1]
    cells = np.zeros((len(names), classes**2))
    np.add.at(cells, group, confusion_cells(told.label, told.said, classes))
    confusion = (weights @ cells).reshape(-1, classes, classes)
    of_class = confusion.sum(axis=2)
    right = np.diagonal(confusion, axis1=1, axis2=2)
    recall = np.where(of_class > 0, right / np.where(of_class > 0, of_class, 1), np.nan)
    accuracy = right.sum(axis=1) / of_class.sum(axis=1)
    return (
        _mean_of_defined(recall),
        accuracy,
        _mean_of_defined(_aurocs(told, group, weights)),
    )


def _aurocs(told: Told, group: Classes, weights: Floats) -> Floats:
    """(1 + B, C) areas of each class against the rest, NaN where it or the rest is absent.

    Of two classes the second stands for both: their shares sum to 1.
    """
    classes = told.share.shape[1]
    areas = []
    for c in range(classes) if classes > 2 else [1]:
        is_class = told.label == c
        won, pairs = _won_pairs(told.share[:, c], is_class, group, weights.shape[1])
        met, sums = (((weights @ of_pairs) * weights).sum(axis=1) for of_pairs in (pairs, won))
        areas.append(np.where(met > 0, sums / np.where(met > 0, met, 1), np.nan))
    return np.stack(areas, axis=1)


def _won_pairs(
    share: Floats, is_class: npt.NDArray[np.bool_], group: Classes, groups: int
) -> tuple[Floats, Floats]:
    """(G, G) pairs of a patch of the class in a row's group and another in a column's.

    Returns:
        The pairs in which the patch of the class has the larger share, ties counting half, and
        all pairs.
    """
    won, of_class = np.zeros((groups, groups)), np.flatnonzero(is_class)
    for h in range(groups):
        rest = np.sort(share[~is_class & (group == h)])
        below = np.searchsorted(rest, share[of_class], side="left")
        not_above = np.searchsorted(rest, share[of_class], side="right")
        np.add.at(won[:, h], group[of_class], (below + not_above) / 2)
    sizes = [np.bincount(group[at], minlength=groups) for at in (is_class, ~is_class)]
    return won, np.outer(*sizes).astype(np.float64)


def _mean_of_defined(values: Floats) -> Floats:
    """(B, C) → (B,), the mean of what is not NaN, NaN where everything is."""
    defined = np.isfinite(values)
    count = defined.sum(axis=1)
    total = np.where(defined, values, 0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _interval(values: Floats) -> Interval:
    value = float(values[0]) if np.isfinite(values[0]) else None
    return interval(value, values[1:])
