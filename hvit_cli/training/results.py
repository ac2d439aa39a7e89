"""What a cross-validation comes to: the paper's Table 1, each fold, and the ensemble.

`results.csv` is a long table of every number, `results.json` the same with how it was made,
`results.md` the page to read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Literal

import numpy as np

from hvit_cli.settings import Attention, TaskSettings, as_recipe
from hvit_cli.training import metrics
from hvit_cli.training.bootstrap import DRAWS
from hvit_cli.training.fold_table import Folds
from hvit_cli.training.measures import Graded, Resampling, measure
from hvit_cli.training.member_predictions import (
    TUNE,
    EnsemblePrediction,
    MemberPrediction,
    ensemble,
)

COMBINED = "combined"
Measure = Literal["kappa", "auroc"]


@dataclass(frozen=True, kw_only=True)
class MemberResult:
    """One member on one set of slides.

    Attributes:
        attention: Its attention.
        set: "tune", a test set, or "combined", all test sets together.
        fold: The fold that tuned it.
        seed: Its seed.
        slides: Slides that were scored.
        kappa: Quadratic weighted kappa; None where undefined.
        accuracy: Share of grades equal to the label.
        within_one: Share of grades at most one step from it.
        mae: Mean distance of the score from the label.
        auroc: Area under the ROC curve, of binary tasks; None elsewhere.
    """

    attention: Attention
    set: str
    fold: int
    seed: int
    slides: int
    kappa: float | None
    accuracy: float | None
    within_one: float | None
    mae: float | None
    auroc: float | None


@dataclass(frozen=True, kw_only=True)
class TableCell:
    """A cell of Table 1: one attention kind on one set.

    Attributes:
        attention: The attention kind.
        set: As in `MemberResult`.
        by_fold: The measure of each fold, the mean over its seeds; None where undefined.
        mean: Mean over the folds; None where a fold has none.
        sd: Standard deviation over the folds (ddof 1); None for a single fold.
        seed_sd: Mean over the folds of the deviation between seeds (ddof 1); None for one seed.
        ensemble: The measure of the mean score of all members; None on tuning slides, which
            other members have trained on.
        ensemble_low: Lower end of its 95 % bootstrap interval, of kappa only.
        ensemble_high: Upper end.
        slides: Slides of the set; of all folds together for "tune".
    """

    attention: Attention
    set: str
    by_fold: Mapping[int, float | None]
    mean: float | None
    sd: float | None
    seed_sd: float | None
    ensemble: float | None
    ensemble_low: float | None
    ensemble_high: float | None
    slides: int


@dataclass(frozen=True, kw_only=True)
class Results:
    """Everything that was measured.

    Attributes:
        measure: What the table shows: kappa, or AUROC for a binary task.
        task: The task.
        sets: The sets in order, tune first.
        table: A cell per attention and set.
        members: A row per member and set.
        draws: Bootstrap draws behind each interval.
        bootstrap_seed: Their seed.
        resampled: What was drawn, such as "slides" or "groups".
    """

    measure: Measure
    task: TaskSettings
    sets: tuple[str, ...]
    table: tuple[TableCell, ...]
    members: tuple[MemberResult, ...]
    draws: int
    bootstrap_seed: int
    resampled: str


def summarise(
    predictions: Sequence[MemberPrediction],
    folds: Folds,
    task: TaskSettings,
    *,
    seed: int = 0,
    draws: int = DRAWS,
) -> Results:
    """Measures predictions of members by the labels of their table of folds.

    Args:
        predictions: Of all members, on tuning and test slides.
        folds: Labels, test sets and groups.
        task: Says how many classes there are, and what is measured.
        seed: Seed of the bootstrap.
        draws: Its draws.
    """
    tests = tuple(name for name in folds.test_sets if any(p.set == name for p in predictions))
    sets = (TUNE, *tests, *((COMBINED,) if len(tests) > 1 else ()))
    attentions = tuple(dict.fromkeys(p.attention for p in predictions))
    measured: Measure = "auroc" if task.task == "binary" else "kappa"
    groups = folds.group_of or folds.case_of
    members: list[MemberResult] = []
    cells: list[TableCell] = []
    for attention in attentions:
        for name in sets:
            wanted = tests if name == COMBINED else (name,)
            here = [p for p in predictions if p.attention == attention and p.set in wanted]
            own = _members(here, name, folds.labels, task)
            members += own
            together: tuple[float | None, float | None, float | None] = (None, None, None)
            if name != TUNE:
                how = Resampling(draws=draws, seed=seed, grades=task.grades)
                together = _together(ensemble(here, task.grades), folds, groups, measured, how)
            cells.append(_cell(attention, name, own, measured, together, here))
    return Results(
        measure=measured,
        task=task,
        sets=sets,
        table=tuple(cells),
        members=tuple(members),
        draws=draws,
        bootstrap_seed=seed,
        resampled="groups" if groups else "slides",
    )


def _members(
    predictions: Sequence[MemberPrediction],
    name: str,
    labels: Mapping[str, int],
    task: TaskSettings,
) -> list[MemberResult]:
    of: dict[tuple[int, int], list[MemberPrediction]] = {}
    for prediction in predictions:
        of.setdefault((prediction.fold, prediction.seed), []).append(prediction)
    found = []
    for (fold, seed), given in sorted(of.items()):
        known = [(p.slide_id, p.grade, p.score) for p in given if p.score is not None]
        label = np.array([labels[i] for i, _, _ in known], np.int64)
        grade = np.array([g for _, g, _ in known], np.int64)
        score = np.array([s for _, _, s in known], np.float64)
        found.append(
            MemberResult(
                attention=given[0].attention,
                set=name,
                fold=fold,
                seed=seed,
                slides=len(known),
                kappa=metrics.quadratic_kappa(label, grade, task.grades),
                accuracy=metrics.accuracy(label, grade),
                within_one=metrics.within_one(label, grade),
                mae=metrics.mean_absolute_error(label, score),
                auroc=metrics.auroc(label, score) if task.task == "binary" else None,
            )
        )
    return found


def _together(
    joined: Sequence[EnsemblePrediction],
    folds: Folds,
    groups: Mapping[str, str],
    measured: Measure,
    how: Resampling,
) -> tuple[float | None, float | None, float | None]:
    """The ensemble's measure and the interval of its kappa."""
    if not joined:
        return None, None, None
    ids = [p.slide_id for p in joined]
    graded = Graded(
        slide_ids=ids,
        label=np.array([folds.labels[i] for i in ids], np.int64),
        grade=np.array([p.grade for p in joined], np.int64),
        score=np.array([p.score for p in joined], np.float64),
        # A slide without a group stands alone; no group is called like this.
        group=[groups.get(i, f"\0{i}") for i in ids] if groups else None,
    )
    if measured == "auroc":
        return metrics.auroc(graded.label, graded.score), None, None
    kappa = measure(graded, how).kappa
    return kappa.value, kappa.low, kappa.high


def _cell(
    attention: Attention,
    name: str,
    members: Sequence[MemberResult],
    measured: Measure,
    together: tuple[float | None, float | None, float | None],
    predictions: Sequence[MemberPrediction],
) -> TableCell:
    of_fold: dict[int, list[float | None]] = {}
    for member in members:
        of_fold.setdefault(member.fold, []).append(
            member.auroc if measured == "auroc" else member.kappa
        )
    by_fold = {fold: _mean(values) for fold, values in of_fold.items()}
    deviations = [_sd(values) for values in of_fold.values()]
    return TableCell(
        attention=attention,
        set=name,
        by_fold=by_fold,
        mean=_mean(list(by_fold.values())),
        sd=_sd(list(by_fold.values())),
        seed_sd=_mean(deviations),
        ensemble=together[0],
        ensemble_low=together[1],
        ensemble_high=together[2],
        slides=len({p.slide_id for p in predictions}),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known and len(known) == len(values) else None


def _sd(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.std(known, ddof=1)) if len(known) == len(values) > 1 else None


def as_json(results: Results) -> str:
    """`results.json`: every number and how it was made."""
    content = {**asdict(results), "task": as_recipe(results.task)}
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


RESULT_COLUMNS = ("statistic", *(field.name for field in fields(MemberResult)))


def as_rows(results: Results) -> list[dict[str, object]]:
    """`results.csv`: members, then mean, deviation and ensemble of each set."""
    rows: list[dict[str, object]] = [
        {"statistic": "member", **asdict(member)} for member in results.members
    ]
    for cell in results.table:
        shared = {"attention": cell.attention, "set": cell.set, "slides": cell.slides}
        rows += [
            {"statistic": "fold", **shared, "fold": fold, results.measure: value}
            for fold, value in cell.by_fold.items()
        ]
        rows += [
            {"statistic": name, **shared, results.measure: value}
            for name, value in (
                ("mean", cell.mean),
                ("sd", cell.sd),
                ("seed_sd", cell.seed_sd),
                ("ensemble", cell.ensemble),
                ("ensemble_low", cell.ensemble_low),
                ("ensemble_high", cell.ensemble_high),
            )
            if value is not None
        ]
    return rows
