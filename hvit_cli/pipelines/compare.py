"""`hvit compare`: whether one set of predictions is as good as another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hvit_cli.errors import LabelError, UsageError
from hvit_cli.training.bootstrap import CONFIDENCE, DRAWS
from hvit_cli.training.comparison import Comparison, PairedGrades, compare_arms
from hvit_cli.training.fold_table import read_folds
from hvit_cli.training.labels import LabelTable, read_labels, require_sound
from hvit_cli.training.matching import groups_of
from hvit_cli.training.measures import Resampling
from hvit_cli.training.metrics import ISUP_GRADES
from hvit_cli.training.predictions import (
    Predicted,
    PredictionTable,
    Run,
    heading_if_present,
    read_predictions,
)
from hvit_cli.training.problems import problem, refuse

MIN_DRAWS = 2000


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One side of a comparison.

    Attributes:
        predictions: Its table.
        model: Take the rows of this model.
        attention: Take the rows of this kind of attention.
    """

    predictions: Path
    model: str | None = None
    attention: str | None = None


@dataclass(frozen=True, kw_only=True)
class ComparisonRequest:
    """What is to be compared, and how.

    Attributes:
        a: The arm in question.
        b: The arm it is measured by.
        labels: Table of labels.
        margin: Loss of kappa that still counts as equally good.
        id_column: Heading of the slide ids, in the tables that have it.
        prediction_column: Heading of the predicted grades in both arms.
        score_column: Heading of the scores in both arms.
        label_column: Heading of the labels.
        fold_column: Heading of the folds in both arms.
        group_columns: Columns of the labels whose equal values are resampled together.
        group_tables: Tables of groups that are resampled together.
        folds: Table of folds, whose groups are resampled together.
        part: Compare on one test set of `folds` alone; `tests` for all of them, `folds` for its
            folds.
        allow_missing: Compare the slides that both arms graded.
        draws: Draws of the bootstrap, 2000 at least.
        seed: Their seed.
        confidence: Of the two-sided intervals.
        grades: Number of classes.
    """

    a: Arm
    b: Arm
    labels: Path
    margin: float
    id_column: str | None = None
    prediction_column: str | None = None
    score_column: str | None = None
    label_column: str | None = None
    fold_column: str | None = None
    group_columns: tuple[str, ...] = ()
    group_tables: tuple[Path, ...] = ()
    folds: Path | None = None
    part: str | None = None
    allow_missing: bool = False
    draws: int = DRAWS
    seed: int = 0
    confidence: float = CONFIDENCE
    grades: int = ISUP_GRADES

    def __post_init__(self) -> None:
        for option, value, holds, wanted in (
            ("--margin", self.margin, 0 < self.margin < 1, "between 0 and 1, such as 0.02"),
            ("--draws", self.draws, self.draws >= MIN_DRAWS, f"{MIN_DRAWS} or more"),
            ("--confidence", self.confidence, 0.5 < self.confidence < 1, "such as 0.95"),
        ):
            if not holds:
                raise UsageError("out of range", where=option, found=value, wanted=wanted)
        if self.part is not None and self.folds is None:
            raise UsageError("--set names a set of --folds", where="--set")
        if self.a == self.b:
            raise UsageError(
                "an arm is compared with itself",
                where=self.a.predictions,
                hint="--attention-a masked --attention-b plain, where one table holds both",
            )


def compare(request: ComparisonRequest) -> Comparison:
    """Compares two arms on the slides of the labels.

    Raises:
        LabelError: A table cannot be used as it is, slides are missing, or the arms have other
            folds or seeds.
        UsageError: A table holds several models, and none was chosen.
    """
    labels = require_sound(
        read_labels(
            request.labels,
            id_column=heading_if_present(request.labels, request.id_column),
            label_column=request.label_column,
            grades=request.grades,
        )
    )
    folds = None if request.folds is None else read_folds(request.folds, grades=request.grades)
    if folds is not None and request.part is not None:
        wanted = folds.part(request.part)
        labels = replace(labels, labels={i: g for i, g in labels.labels.items() if i in wanted})
    a, b = (_read(request, arm) for arm in (request.a, request.b))
    runs = _paired_runs(request, a, b)
    _refuse_missing(request, labels, runs)
    group_of = groups_of(labels, request.group_columns, request.group_tables, folds)
    pairs = [
        pair
        for run, arms in runs.items()
        if len((pair := _side_by_side(run, arms, labels.labels, group_of)).label)
    ]
    if not pairs:
        raise LabelError("the arms and the labels have no slide in common", where=request.labels)
    seen = {i for arms in runs.values() for i in labels.labels if _graded(i, arms)}
    return compare_arms(
        pairs,
        margin=request.margin,
        slides=len(seen),
        how=Resampling(draws=request.draws, seed=request.seed, grades=request.grades),
        confidence=request.confidence,
    )


Arms = tuple[Mapping[str, Predicted], Mapping[str, Predicted]]


def _read(request: ComparisonRequest, arm: Arm) -> PredictionTable:
    return read_predictions(
        arm.predictions,
        id_column=heading_if_present(arm.predictions, request.id_column),
        prediction_column=request.prediction_column,
        score_column=request.score_column,
        fold_column=request.fold_column,
        model=arm.model,
        attention=arm.attention,
        grades=request.grades,
    )


def _paired_runs(
    request: ComparisonRequest, a: PredictionTable, b: PredictionTable
) -> dict[Run, Arms]:
    """The predictions of both arms by (fold, seed).

    Where every slide was graded once in each arm, the folds are parts of one cross-validated
    model and are judged together.
    """
    if not a.repeats and not b.repeats:
        return {("", ""): (a.together(request.grades), b.together(request.grades))}
    only = [*(f"{_name(run)} in one arm" for run in sorted(a.runs.keys() ^ b.runs.keys()))]
    refuse(
        "the arms do not have the same models",
        f"{a.path} and {b.path}",
        problem("pairs of fold and seed", only),
    )
    return {run: (a.runs[run], b.runs[run]) for run in sorted(a.runs)}


def _refuse_missing(
    request: ComparisonRequest, labels: LabelTable, runs: Mapping[Run, Arms]
) -> None:
    """Refuses arms that leave out slides of the labels, or of each other."""
    if request.allow_missing:
        return
    problems = []
    for k, arm in enumerate((request.a, request.b)):
        graded = {i for arms in runs.values() for i in arms[k] if arms[k][i].grade is not None}
        uneven = [
            f"{i} in {_name(run)}"
            for run, arms in runs.items()
            for i in labels.labels
            if _has(i, arms[1 - k]) and not _has(i, arms[k])
        ]
        name = f"{'AB'[k]} ({arm.predictions.name})"
        hint = "--allow-missing, which compares the slides that both graded"
        problems += problem(
            f"labelled slides without a grade in {name}",
            [i for i in labels.labels if i not in graded],
            hint,
        )
        if len(runs) > 1:
            problems += problem(f"grades of the other arm that are missing in {name}", uneven, hint)
    refuse("the arms cannot be compared as they are", request.labels, problems)


def _side_by_side(
    run: Run, arms: Arms, labels: Mapping[str, int], group_of: Mapping[str, str]
) -> PairedGrades:
    ids = sorted(i for i in labels if _graded(i, arms))
    a, b = (np.asarray([arm[i].grade for i in ids], np.int64) for arm in arms)
    return PairedGrades(
        name=_name(run),
        label=np.asarray([labels[i] for i in ids], np.int64),
        a=a,
        b=b,
        # A name no group can have keeps a lone slide apart from a group called like it.
        group=[group_of.get(i, f"\0{i}") for i in ids],
    )


def _graded(slide_id: str, arms: Arms) -> bool:
    return all(_has(slide_id, arm) for arm in arms)


def _has(slide_id: str, arm: Mapping[str, Predicted]) -> bool:
    return slide_id in arm and arm[slide_id].grade is not None


def _name(run: Run) -> str:
    parts: Sequence[str] = [f"{n} {v}" for n, v in zip(("fold", "seed"), run, strict=True) if v]
    return ", ".join(parts) or "all"
