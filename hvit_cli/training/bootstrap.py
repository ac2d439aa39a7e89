"""How far a number about slides would move had other slides, or other models, been drawn.

Groups (patients, cases, near-duplicates) are drawn with replacement, as many as there are, and
bring all their slides. Statistics here are sums over slides (cells of a confusion matrix,
absolute errors), so that a draw is one row of weights and many draws are one matrix product.
Letters: B draws, G groups, S slides, C statistics, L classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

DRAWS = 2000
CONFIDENCE = 0.95
# Streams of random numbers of their own; see `training.folds`.
_GROUP_STREAM = 201
_MODEL_STREAM = 202
# Random numbers held at once while groups are drawn.
_CHUNK = 4_000_000


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A number with its bootstrap interval.

    Attributes:
        value: The number itself; None where it is undefined.
        low: Lower end of the percentile interval; None where nothing was drawn.
        high: Upper end.
    """

    value: float | None
    low: float | None = None
    high: float | None = None


def resample(statistics: Floats, draws: int, seed: int) -> Iterator[Floats]:
    """Sums of the statistics over groups drawn with replacement, as many as there are.

    Args:
        statistics: (G, C), the statistics of each group.
        draws: Number of draws B.
        seed: Seed of the draws; equal G and seed draw the same groups.

    Yields:
        (b, C) sums of the next b draws, B in all.
    """
    generator = np.random.default_rng([seed, _GROUP_STREAM])
    groups = len(statistics)
    step = max(1, _CHUNK // max(groups, 1))
    for start in range(0, draws, step):
        here = min(step, draws - start)
        drawn = generator.integers(groups, size=(here, groups))
        # Counted in one go; a multinomial draw of thousands of groups takes five times as long.
        cells = drawn + np.arange(here)[:, None] * groups
        weights = np.bincount(cells.ravel(), minlength=here * groups).reshape(here, groups)
        yield weights.astype(np.float64) @ statistics


def resample_models(models: int, draws: int, seed: int) -> Floats:
    """Weights of models drawn with replacement.

    One fewer than there are is drawn: the variance of the mean over them is then s²/R with the
    sample variance s² (ddof 1), without which the interval of few models is too narrow (Rao and
    Wu 1988).

    Returns:
        (B, models) weights, each row of sum 1.
    """
    generator = np.random.default_rng([seed, _MODEL_STREAM])
    if models == 1:
        return np.ones((draws, 1))
    drawn = generator.multinomial(models - 1, np.full(models, 1 / models), size=draws)
    return np.asarray(drawn / (models - 1), np.float64)


def kappas(confusion: Floats) -> Floats:
    """Quadratic weighted kappas of (…, L, L) confusion matrices, NaN where undefined."""
    index = np.arange(confusion.shape[-1])
    weight = np.square(index[:, None] - index[None, :]).astype(np.float64)
    observed = (weight * confusion).sum((-2, -1)) * confusion.sum((-2, -1))
    expected = np.einsum("...i,ij,...j->...", confusion.sum(-1), weight, confusion.sum(-2))
    undefined = expected == 0
    return np.where(undefined, np.nan, 1 - observed / np.where(undefined, 1, expected))


def interval(value: float | None, drawn: Floats, confidence: float = CONFIDENCE) -> Interval:
    """The percentile interval of drawn values; undefined ones are left out."""
    defined = drawn[np.isfinite(drawn)]
    if value is None or not defined.size:
        return Interval(value=value)
    tail = (1 - confidence) / 2
    low, high = np.quantile(defined, [tail, 1 - tail])
    return Interval(value=value, low=float(low), high=float(high))


def sums_by_group(statistics: Floats, groups: Sequence[str] | None) -> Floats:
    """(S, C) → (G, C), slides of one group added up; None makes each slide a group."""
    if groups is None:
        return statistics
    names, index = np.unique(np.asarray(groups, object).astype(str), return_inverse=True)
    sums = np.zeros((len(names), statistics.shape[1]))
    np.add.at(sums, index, statistics)
    return sums


def confusion_cells(
    label: npt.NDArray[np.int64], grade: npt.NDArray[np.int64], classes: int
) -> Floats:
    """(S, L²) with a 1 in the cell of each slide: row the label, column the grade."""
    cells: Floats = np.eye(classes**2)[label * classes + grade]
    return cells
