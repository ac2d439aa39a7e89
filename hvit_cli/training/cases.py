"""Tables of slides turned into tables of cases: one label, one prediction, one part each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from hvit_cli.errors import LabelError
from hvit_cli.training.fold_table import Folds
from hvit_cli.training.labels import CASE_COLUMN, LabelTable
from hvit_cli.training.predictions import Predicted, PredictionTable, Run
from hvit_cli.training.problems import refuse
from hvit_cli.training.split_report import mixed_cases

V = TypeVar("V")


def cases_of(table: LabelTable) -> dict[str, str]:
    """The case of every slide of a table; a slide without one is a case of its own.

    Raises:
        LabelError: The table has no column `case_id`.
    """
    return {slide_id: case or slide_id for slide_id, case in table.column(CASE_COLUMN).items()}


def labels_of_cases(table: LabelTable, case_of: Mapping[str, str]) -> LabelTable:
    """The table with a row per case, the first of its slides'.

    Raises:
        LabelError: Slides of one case have different labels.
    """
    refuse("cases have no one label", table.path, mixed_cases(case_of, table.labels))
    return replace(table, labels=_first(table.labels, case_of), rows=_first(table.rows, case_of))


def folds_of_cases(folds: Folds, case_of: Mapping[str, str]) -> Folds:
    """The division with cases for slides; a case is where its first slide is."""
    return replace(
        folds,
        labels=_first(folds.labels, case_of),
        fold_of=_first(folds.fold_of, case_of),
        test_set_of=_first(folds.test_set_of, case_of),
        group_of=_first(folds.group_of, case_of),
        record=None,
    )


def worst_of_cases(table: PredictionTable, case_of: Mapping[str, str]) -> PredictionTable:
    """The predictions with a case's worst slide for its slides, in every run.

    A case has no grade where none of its slides has one. Slides without a label have no known
    case and stand alone.

    Raises:
        LabelError: Some slides of a case have a score and others a grade alone.
    """
    # Where each slide was graded once, a case may still have slides in two folds: it is then
    # judged whole, in the fold of its first slide.
    home: dict[str, Run] = {}
    slides: dict[tuple[Run, str], list[Predicted]] = {}
    for run, of_run in table.runs.items():
        for slide_id, predicted in of_run.items():
            case = case_of.get(slide_id, slide_id)
            place = run if table.repeats else home.setdefault(case, run)
            slides.setdefault((place, case), []).append(predicted)
    runs: dict[Run, dict[str, Predicted]] = {}
    for (run, case), several in slides.items():
        runs.setdefault(run, {})[case] = _worst(table, case, several)
    return replace(table, runs=runs, rows=_first(table.rows, case_of))


def _worst(table: PredictionTable, case: str, slides: list[Predicted]) -> Predicted:
    graded = [slide for slide in slides if slide.grade is not None]
    if not graded:
        return slides[0]
    scored = [slide for slide in graded if slide.score is not None]
    if scored and len(scored) < len(graded):
        raise LabelError("some slides of a case have no score", where=table.path, found=case)
    return max(graded, key=lambda slide: (slide.score or 0.0, slide.grade or 0))


def _first(values: Mapping[str, V], case_of: Mapping[str, str]) -> dict[str, V]:
    found: dict[str, V] = {}
    for slide_id, value in values.items():
        found.setdefault(case_of.get(slide_id, slide_id), value)
    return found
