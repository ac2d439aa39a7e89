"""The numbers of one set of graded slides, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from hvit_cli.training import metrics
from hvit_cli.training.bootstrap import (
    DRAWS,
    Interval,
    confusion_cells,
    interval,
    kappas,
    resample,
    sums_by_group,
)
from hvit_cli.training.metrics import ISUP_GRADES


@dataclass(frozen=True, kw_only=True)
class Graded:
    """Slides with a label and a predicted grade each; arrays of one length S.

    Attributes:
        slide_ids: Their ids.
        label: (S,) what is true.
        grade: (S,) what was predicted.
        score: (S,) the unrounded scores, NaN where there is none.
        group: Group of each slide; None where every slide stands for itself.
    """

    slide_ids: Sequence[str]
    label: npt.NDArray[np.int64]
    grade: npt.NDArray[np.int64]
    score: npt.NDArray[np.float64]
    group: Sequence[str] | None = None

    def only(self, wanted: npt.NDArray[np.bool_]) -> Graded:
        """The slides at which `wanted` (S,) is true."""
        at = np.flatnonzero(wanted).tolist()
        return Graded(
            slide_ids=[self.slide_ids[i] for i in at],
            label=self.label[at],
            grade=self.grade[at],
            score=self.score[at],
            group=None if self.group is None else [self.group[i] for i in at],
        )

    @property
    def has_scores(self) -> bool:
        """Whether every slide has a score."""
        return bool(np.isfinite(self.score).all()) and len(self.score) > 0


@dataclass(frozen=True, kw_only=True)
class Measures:
    """Numbers of one set of slides.

    Attributes:
        slides: Slides in the set.
        groups: Groups that were resampled, as many as slides where none are given.
        kappa: Quadratic weighted kappa over all classes; undefined where no disagreement is
            expected.
        accuracy: Share of grades equal to the label.
        within_one: Share of grades at most one step from it.
        mae: Mean distance of the score from the label, or of the grade where there are no scores.
        mae_of: score or grade.
        auroc: Area under the ROC curve of the score, of two classes only.
        undefined_draws: Draws in which kappa was undefined; they are left out of its interval.
    """

    slides: int
    groups: int
    kappa: Interval
    accuracy: Interval
    within_one: Interval
    mae: Interval
    mae_of: str
    auroc: float | None = None
    undefined_draws: int = 0


@dataclass(frozen=True, kw_only=True)
class Resampling:
    """How intervals are drawn.

    Attributes:
        draws: Number of draws; 0 gives no intervals.
        seed: Their seed.
        grades: Number of classes.
    """

    draws: int = DRAWS
    seed: int = 0
    grades: int = field(default=ISUP_GRADES)


def measure(slides: Graded, how: Resampling) -> Measures:
    """Measures a set of slides; intervals resample its groups.

    Raises:
        LabelError: A label or grade is not one of the classes.
    """
    label, grade, classes = slides.label, slides.grade, how.grades
    kappa = metrics.quadratic_kappa(label, grade, classes)
    scored = slides.has_scores
    distance = np.abs((slides.score if scored else grade) - label)
    of_slides = np.column_stack(
        [
            confusion_cells(label, grade, classes),
            label == grade,
            np.abs(label - grade) <= 1,
            distance,
            np.ones(len(label)),
        ]
    )
    of_groups = sums_by_group(of_slides, slides.group)
    drawn = _drawn(of_groups, how)
    cells = classes**2
    sizes = drawn[:, -1]
    drawn_kappas = kappas(drawn[:, :cells].reshape(-1, classes, classes))
    shares = drawn[:, cells:-1] / np.maximum(sizes, 1)[:, None]
    two = scored and classes == 2
    return Measures(
        slides=len(label),
        groups=len(of_groups),
        kappa=interval(kappa, drawn_kappas),
        accuracy=interval(metrics.accuracy(label, grade), shares[:, 0]),
        within_one=interval(metrics.within_one(label, grade), shares[:, 1]),
        mae=interval(float(distance.mean()) if len(label) else None, shares[:, 2]),
        mae_of="score" if scored else "grade",
        auroc=metrics.auroc(label, slides.score) if two else None,
        undefined_draws=int(np.isnan(drawn_kappas).sum()),
    )


def _drawn(of_groups: npt.NDArray[np.float64], how: Resampling) -> npt.NDArray[np.float64]:
    if not how.draws or not len(of_groups):
        return np.zeros((0, of_groups.shape[1]))
    return np.concatenate(list(resample(of_groups, how.draws, how.seed)))
