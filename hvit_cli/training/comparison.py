"""Is one model as good as another? The paired difference of their kappas, with its interval.

Both arms graded the same slides, so that a slide that is hard for one is mostly hard for the
other, and the difference is known far better than either kappa. Each draw takes groups of
slides, and where an arm has several models (fold, seed) pairs, for both arms at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from hvit_cli.training.bootstrap import (
    CONFIDENCE,
    Interval,
    confusion_cells,
    interval,
    kappas,
    resample,
    resample_models,
    sums_by_group,
)
from hvit_cli.training.measures import Resampling
from hvit_cli.training.metrics import quadratic_kappa

Verdict = Literal["yes", "no", "undecided"]
Grades = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class PairedGrades:
    """Slides that both arms of one (fold, seed) pair graded; arrays of one length.

    Attributes:
        name: The pair, for people.
        label: (S,) what is true.
        a: (S,) grades of the first arm.
        b: (S,) grades of the second arm.
        group: Group of each slide, a slide's own id where it stands alone.
    """

    name: str
    label: Grades
    a: Grades
    b: Grades
    group: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class PairDifference:
    """The kappas of one (fold, seed) pair.

    Attributes:
        name: The pair.
        slides: Slides it graded.
        kappa_a: Kappa of the first arm.
        kappa_b: Kappa of the second arm.
    """

    name: str
    slides: int
    kappa_a: float | None
    kappa_b: float | None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Whether the first arm is as good as the second.

    Attributes:
        slides: Different slides.
        groups: Groups that were resampled.
        pairs: Kappas of each (fold, seed) pair; one where each arm is one model.
        kappa_a: Mean kappa of the first arm over the pairs.
        kappa_b: Mean kappa of the second arm.
        difference: Mean of kappa_a − kappa_b.
        margin: The loss of kappa that would still count as equally good.
        confidence: Of the two-sided intervals.
        non_inferior: yes where the whole interval of the difference lies above −margin, no where
            all of it lies below, else undecided.
        draws: Draws of the bootstrap.
        undefined_draws: Draws in which a kappa was undefined; they are left out.
        seed: Seed of the draws.
    """

    slides: int
    groups: int
    pairs: Sequence[PairDifference]
    kappa_a: Interval
    kappa_b: Interval
    difference: Interval
    margin: float
    confidence: float
    non_inferior: Verdict
    draws: int
    undefined_draws: int
    seed: int


def compare_arms(
    pairs: Sequence[PairedGrades],
    *,
    margin: float,
    slides: int,
    how: Resampling,
    confidence: float = CONFIDENCE,
) -> Comparison:
    """Compares two arms.

    Args:
        pairs: One for each (fold, seed), at least one.
        margin: Loss of kappa that still counts as equally good, above 0.
        slides: Different slides in all pairs, for the record.
        how: Draws, seed and classes.
        confidence: Of the two-sided intervals.
    """
    names = sorted({group for pair in pairs for group in pair.group})
    found = [
        PairDifference(
            name=pair.name,
            slides=len(pair.label),
            kappa_a=quadratic_kappa(pair.label, pair.a, how.grades),
            kappa_b=quadratic_kappa(pair.label, pair.b, how.grades),
        )
        for pair in pairs
    ]
    drawn = np.stack([_drawn_kappas(pair, names, how) for pair in pairs], axis=-1)  # (2, B, R)
    weights = resample_models(len(pairs), how.draws, how.seed)
    # A pair that was not drawn must not make the draw undefined: 0 × NaN is NaN.
    both = np.where(weights > 0, drawn, 0.0)
    a, b = (both * weights).sum(-1)
    kappa_a, kappa_b = _mean([p.kappa_a for p in found]), _mean([p.kappa_b for p in found])
    gap = None if kappa_a is None or kappa_b is None else kappa_a - kappa_b
    difference = interval(gap, a - b, confidence)
    return Comparison(
        slides=slides,
        groups=len(names),
        pairs=found,
        kappa_a=interval(kappa_a, a, confidence),
        kappa_b=interval(kappa_b, b, confidence),
        difference=difference,
        margin=margin,
        confidence=confidence,
        non_inferior=verdict(difference, margin) if _tells(pairs) else "undecided",
        draws=how.draws,
        undefined_draws=int(np.isnan(a - b).sum()),
        seed=how.seed,
    )


def _tells(pairs: Sequence[PairedGrades]) -> bool:
    # Two arms that give every slide one grade have kappa 0 and a difference of exactly 0,
    # however many slides there are: an interval without width, and no evidence.
    return any(len(np.unique(arm)) > 1 for pair in pairs for arm in (pair.a, pair.b))


def verdict(difference: Interval, margin: float) -> Verdict:
    """Whether the first arm loses less than the margin, as far as the interval tells."""
    if difference.low is None or difference.high is None:
        return "undecided"
    if difference.low > -margin:
        return "yes"
    return "no" if difference.high < -margin else "undecided"


def _drawn_kappas(
    pair: PairedGrades, names: Sequence[str], how: Resampling
) -> npt.NDArray[np.float64]:
    """(2, B) kappas of both arms; every pair sees the same draws of groups."""
    of_slides = np.hstack(
        [confusion_cells(pair.label, grade, how.grades) for grade in (pair.a, pair.b)]
    )
    # Groups without a slide in this pair are drawn all the same, so that draws agree.
    absent = sorted(set(names) - set(pair.group))
    of_groups = sums_by_group(
        np.vstack([of_slides, np.zeros((len(absent), of_slides.shape[1]))]),
        [*pair.group, *absent],
    )
    drawn = np.concatenate(list(resample(of_groups, how.draws, how.seed)))
    shaped = drawn.reshape(-1, 2, how.grades, how.grades)
    return kappas(shaped).T


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) and known else None
