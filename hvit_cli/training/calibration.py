"""Whether a score says what it means: slides scored 3.2 should be of grade 3.2 on average."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

BINS = 10


@dataclass(frozen=True, kw_only=True)
class CalibrationBin:
    """Slides of similar score.

    Attributes:
        slides: How many.
        score: Mean of their scores.
        label: Mean of their labels.
    """

    slides: int
    score: float
    label: float


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """How scores and labels agree on average.

    Attributes:
        bias: Mean of score − label.
        slope: Slope of the least-squares line of label on score, 1 is ideal; None where all
            scores are equal.
        intercept: Its value at score 0, 0 is ideal.
        error: Mean over all slides of |mean score − mean label| of their bin.
        bins: Up to ten bins of equally many slides, by ascending score.
    """

    bias: float
    slope: float | None
    intercept: float | None
    error: float
    bins: Sequence[CalibrationBin]


def calibration(label: npt.ArrayLike, score: npt.ArrayLike, bins: int = BINS) -> Calibration | None:
    """Measures calibration; None of nothing.

    Args:
        label: (S,) grades.
        score: (S,) unrounded scores.
        bins: Number of bins, fewer where there are fewer slides.
    """
    labels, scores = np.asarray(label, np.float64), np.asarray(score, np.float64)
    if not scores.size:
        return None
    order = np.argsort(scores, kind="stable")
    parts = [part for part in np.array_split(order, min(bins, len(order))) if part.size]
    found = [
        CalibrationBin(
            slides=len(part), score=float(scores[part].mean()), label=float(labels[part].mean())
        )
        for part in parts
    ]
    spread = float(np.square(scores - scores.mean()).sum())
    slope = None
    if spread > 0:
        slope = float(((scores - scores.mean()) * (labels - labels.mean())).sum() / spread)
    return Calibration(
        bias=float((scores - labels).mean()),
        slope=slope,
        intercept=None if slope is None else float(labels.mean() - slope * scores.mean()),
        error=sum(b.slides * abs(b.score - b.label) for b in found) / len(scores),
        bins=found,
    )
