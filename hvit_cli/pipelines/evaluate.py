"""`hvit evaluate`: what predictions are worth, measured against labels."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hvit_cli.errors import UsageError
from hvit_cli.training import cases, metrics
from hvit_cli.training.bootstrap import DRAWS
from hvit_cli.training.calibration import calibration
from hvit_cli.training.evaluation import (
    Evaluation,
    RunMeasures,
    Subgroup,
    Written,
    files_of,
    summary,
    write_evaluation,
)
from hvit_cli.training.fold_table import IN_FOLDS, Folds, read_folds
from hvit_cli.training.labels import (
    CASE_COLUMN,
    ID_HEADINGS,
    LabelTable,
    read_labels,
    read_rows,
    require_sound,
)
from hvit_cli.training.matching import Match, groups_of, match, refuse_missing, side_by_side
from hvit_cli.training.measures import Graded, Resampling, measure
from hvit_cli.training.metrics import ISUP_GRADES
from hvit_cli.training.predictions import PredictionTable, heading_if_present, read_predictions
from hvit_cli.training.problems import problem
from hvit_cli.training.split_report import inconsistent_rows
from hvit_cli.training.subgroups import values_of

__all__ = [
    "Evaluation",
    "EvaluationForecast",
    "EvaluationRequest",
    "Written",
    "evaluate",
    "forecast_evaluation",
    "summary",
    "write_evaluation",
]

MIN_DRAWS = 2000
_TRIED = 100


@dataclass(frozen=True, kw_only=True)
class EvaluationRequest:
    """What is to be judged, and how.

    Attributes:
        predictions: Table of predictions.
        labels: Table of labels.
        id_column: Heading of the slide ids in both tables, as far as they have it.
        prediction_column: Heading of the predicted grades.
        score_column: Heading of the scores.
        label_column: Heading of the labels.
        fold_column: Heading of the folds, in either table.
        model: Judge the rows of this model.
        attention: Judge the rows of this kind of attention.
        by: Columns by which slides are also judged apart; `scanner` is told by the spacing.
        group_columns: Columns whose equal values are resampled together.
        group_tables: Tables of groups that are resampled together.
        folds: Table of folds; it says folds, test sets and groups.
        part: Judge one test set of `folds` alone; `tests` for all of them, `folds` for its folds.
        cases: Judge cases, by a table of cases or by the worst slide of each.
        allow_missing: Judge the slides that are there.
        draws: Draws of the bootstrap, 2000 at least; 0 gives no intervals.
        seed: Their seed.
        grades: Number of classes.
    """

    predictions: Path
    labels: Path
    id_column: str | None = None
    prediction_column: str | None = None
    score_column: str | None = None
    label_column: str | None = None
    fold_column: str | None = None
    model: str | None = None
    attention: str | None = None
    by: tuple[str, ...] = ()
    group_columns: tuple[str, ...] = ()
    group_tables: tuple[Path, ...] = ()
    folds: Path | None = None
    part: str | None = None
    cases: bool = False
    allow_missing: bool = False
    draws: int = DRAWS
    seed: int = 0
    grades: int = ISUP_GRADES

    def __post_init__(self) -> None:
        if 0 < self.draws < MIN_DRAWS or self.draws < 0:
            raise UsageError(
                "so few draws make no interval",
                where="--draws",
                found=self.draws,
                wanted=f"{MIN_DRAWS} or more, or 0 for no intervals",
            )
        if self.part is not None and self.folds is None:
            raise UsageError("--set names a set of --folds", where="--set")


def evaluate(request: EvaluationRequest) -> Evaluation:
    """Measures predictions against labels.

    Raises:
        LabelError: A table cannot be used as it is, or expected slides are missing.
        UsageError: The table of predictions holds several models, and none was chosen.
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
    if request.cases:
        case_of = cases.cases_of(labels)
        labels = cases.labels_of_cases(labels, case_of)
        folds = None if folds is None else cases.folds_of_cases(folds, case_of)
        table = _predictions(request, labels)
        if not _is_of_cases(request.predictions):
            table = cases.worst_of_cases(table, case_of)
    else:
        table = _predictions(request, labels)
    expected = _expected(request, labels, folds)
    together = table.together(request.grades)
    found = match(together, expected)
    refuse_missing(found, request.predictions, allow_missing=request.allow_missing)
    how = Resampling(draws=request.draws, seed=request.seed, grades=request.grades)
    groups = groups_of(labels, request.group_columns, request.group_tables, folds)
    graded = side_by_side(together, expected, groups)
    runs = _runs(request, labels, table, folds, expected)
    kappas = _kappas_of_folds(runs)
    sets = _sets(expected, folds)
    counts = {
        name: Counter(expected[i] for i in expected if sets[i] == name)
        for name in dict.fromkeys(sets.values())
    }
    remarks = [
        *problem("grades that are not their rounded score", table.unrounded),
        *inconsistent_rows(labels),
    ]
    return Evaluation(
        predictions=request.predictions,
        labels=request.labels,
        match=found,
        measures=measure(graded, how),
        confusion=metrics.confusion_matrix(graded.label, graded.grade, request.grades).tolist(),
        calibration=calibration(graded.label, graded.score) if graded.has_scores else None,
        subgroups=_subgroups(request, labels, table, graded, sets, how),
        runs=runs,
        kappa_mean=float(np.mean(kappas)) if kappas else None,
        kappa_sd=float(np.std(kappas, ddof=1)) if len(kappas) > 1 else None,
        label_counts={n: [c[g] for g in range(request.grades)] for n, c in counts.items()},
        draws=request.draws,
        seed=request.seed,
        remarks=[str(remark) for remark in remarks],
        graded=graded,
    )


@dataclass(frozen=True, kw_only=True)
class EvaluationForecast:
    """What an evaluation would do.

    Attributes:
        match: Which slides have labels, rows and grades.
        parts: Subgroups, folds and seeds that would be judged apart.
        seconds: Time of the intervals, as a few draws took just now.
        files: What would be written; none without a folder.
        replaced: Those of them that lie there already.
        free_bytes: Free disk where they would lie; None without a folder.
    """

    match: Match
    parts: int
    seconds: float
    files: tuple[Path, ...]
    replaced: tuple[Path, ...]
    free_bytes: int | None


def forecast_evaluation(
    request: EvaluationRequest, out: Path | None, *, worst: int = 0
) -> EvaluationForecast:
    """Matches the tables and tries a few draws; nothing is written.

    Raises:
        HvitError: As `evaluate`.
    """
    done = evaluate(replace(request, draws=0))
    shown = sum(part.measures.slides for part in done.subgroups)
    started = time.perf_counter()
    if request.draws:
        measure(done.graded, Resampling(draws=_TRIED, seed=0, grades=request.grades))
    once = (time.perf_counter() - started) / _TRIED
    files = () if out is None else tuple(files_of(done, out, worst=worst))
    existing = (
        None if out is None else next(p for p in (out, *out.absolute().parents) if p.is_dir())
    )
    return EvaluationForecast(
        match=done.match,
        parts=len(done.subgroups) + len(done.runs),
        # Subgroups together are drawn as often as they hold slides.
        seconds=request.draws * once * (1 + shown / max(done.measures.slides, 1)),
        files=files,
        replaced=tuple(file for file in files if file.exists()),
        free_bytes=None if existing is None else shutil.disk_usage(existing).free,
    )


def _predictions(request: EvaluationRequest, labels: LabelTable) -> PredictionTable:
    own_folds = heading_if_present(request.predictions, request.fold_column)
    if request.fold_column is not None and own_folds is None:
        labels.column(request.fold_column)  # an error where neither table has it
    return read_predictions(
        request.predictions,
        id_column=CASE_COLUMN
        if request.cases and _is_of_cases(request.predictions)
        else heading_if_present(request.predictions, request.id_column),
        prediction_column=request.prediction_column,
        score_column=request.score_column,
        fold_column=own_folds,
        model=request.model,
        attention=request.attention,
        grades=request.grades,
    )


def _is_of_cases(predictions: Path) -> bool:
    """Whether a table names cases and no slides, as `hvit predict --cases` writes it."""
    heading, _ = read_rows(predictions)
    return CASE_COLUMN in heading and not any(h.casefold() in ID_HEADINGS for h in heading)


def _expected(
    request: EvaluationRequest, labels: LabelTable, folds: Folds | None
) -> Mapping[str, int]:
    if folds is None or request.part is None:
        return labels.labels
    wanted = folds.part(request.part)
    return {i: label for i, label in labels.labels.items() if i in wanted}


def _sets(expected: Mapping[str, int], folds: Folds | None) -> dict[str, str]:
    if folds is None:
        return dict.fromkeys(expected, "all")
    return {
        i: folds.test_set_of.get(i, IN_FOLDS if i in folds.fold_of else "neither") for i in expected
    }


def _subgroups(
    request: EvaluationRequest,
    labels: LabelTable,
    table: PredictionTable,
    graded: Graded,
    sets: Mapping[str, str],
    how: Resampling,
) -> list[Subgroup]:
    tables = ((labels.path, labels.rows), (table.path, table.rows))
    columns = {name: values_of(name, tables) for name in request.by}
    if len(set(sets.values())) > 1:
        columns["set"] = dict(sets)
    found = []
    for name, values in columns.items():
        here = np.asarray([values.get(i, "") for i in graded.slide_ids], object)
        for value in sorted(set(here.tolist())):
            measures = measure(graded.only(here == value), how)
            found.append(Subgroup(column=name, value=value or "(none)", measures=measures))
    return found


def _runs(
    request: EvaluationRequest,
    labels: LabelTable,
    table: PredictionTable,
    folds: Folds | None,
    expected: Mapping[str, int],
) -> list[RunMeasures]:
    """Numbers of each fold and seed: told apart by the predictions, else by the labels."""
    runs = dict(table.runs)
    if len(runs) == 1 and not any(next(iter(runs))):
        fold_of: Mapping[str, str] = {}
        if request.fold_column is not None:
            fold_of = labels.column(request.fold_column)
        elif folds is not None:
            fold_of = {i: str(fold) for i, fold in folds.fold_of.items()}
        (predicted,) = runs.values()
        runs = {
            (fold, ""): {i: p for i, p in predicted.items() if fold_of.get(i) == fold}
            for fold in sorted(set(fold_of.values()))
        }
    found = []
    for fold, seed in sorted(runs, key=_in_order):
        slides = side_by_side(runs[fold, seed], expected, None)
        if slides.slide_ids:
            found.append(
                RunMeasures(
                    fold=fold,
                    seed=seed,
                    slides=len(slides.slide_ids),
                    kappa=metrics.quadratic_kappa(slides.label, slides.grade, request.grades),
                    accuracy=metrics.accuracy(slides.label, slides.grade),
                    within_one=metrics.within_one(slides.label, slides.grade),
                )
            )
    return found if len(found) > 1 else []


def _kappas_of_folds(runs: Sequence[RunMeasures]) -> list[float]:
    """The kappas whose mean and deviation are told; [] where one of them is undefined."""
    by_seed = len({run.fold for run in runs}) == 1
    kappas: dict[str, list[float]] = {}
    for run in runs:
        if run.kappa is None:
            return []
        kappas.setdefault(run.seed if by_seed else run.fold, []).append(run.kappa)
    return [float(np.mean(values)) for values in kappas.values()]


def _in_order(run: tuple[str, str]) -> tuple[tuple[int, str], ...]:
    # Fold 10 comes after fold 9.
    return tuple((len(name), name) for name in run)
