"""Predictions and labels side by side: which slides were expected, found, and missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hvit_cli.training.fold_table import Folds
from hvit_cli.training.groups import join_groups, read_group_table, source_of_column
from hvit_cli.training.labels import CASE_COLUMN, LabelTable
from hvit_cli.training.measures import Graded
from hvit_cli.training.predictions import Predicted
from hvit_cli.training.problems import problem, refuse


@dataclass(frozen=True, kw_only=True)
class Match:
    """What of the expected slides was found.

    Attributes:
        expected: Slides with a label.
        found: Those that have a grade.
        missing: Those without a row among the predictions.
        ungraded: Those whose row has no grade, with the reason where it is known.
        unlabelled: Predictions of slides without a label; they are left out.
    """

    expected: int
    found: int
    missing: Sequence[str]
    ungraded: Mapping[str, str]
    unlabelled: Sequence[str]


def match(predicted: Mapping[str, Predicted], labels: Mapping[str, int]) -> Match:
    """Compares the slides of predictions and labels."""
    missing = [i for i in labels if i not in predicted]
    ungraded = {
        i: predicted[i].reason for i in labels if i in predicted and predicted[i].grade is None
    }
    return Match(
        expected=len(labels),
        found=len(labels) - len(missing) - len(ungraded),
        missing=missing,
        ungraded=ungraded,
        unlabelled=[i for i in predicted if i not in labels],
    )


def refuse_missing(found: Match, predictions: Path, *, allow_missing: bool) -> None:
    """Refuses to judge predictions that leave out expected slides.

    Raises:
        LabelError: Slides are missing or have no grade and that was not allowed; or nothing is
            left to compare.
    """
    reasons = [f"{i} ({reason})" if reason else i for i, reason in found.ungraded.items()]
    hint = "--allow-missing, which judges the others"
    if not allow_missing:
        refuse(
            "predictions are missing",
            predictions,
            [
                *problem("labelled slides without a row", found.missing, hint),
                *problem("labelled slides without a grade", reasons, hint),
            ],
        )
    if not found.found:
        none = problem("slides in common", ["0"], "--id-column; ids without the file's suffix")
        refuse("predictions and labels have no slide in common", predictions, none)


def groups_of(
    labels: LabelTable,
    columns: Sequence[str],
    tables: Sequence[Path],
    folds: Folds | None = None,
) -> dict[str, str]:
    """What is drawn together: groups that were asked for, those of the folds, and cases.

    Args:
        labels: Its column of cases counts, where it has one.
        columns: Columns of `labels` whose equal values belong together.
        tables: Tables of groups.
        folds: Table of folds.

    Returns:
        Group by slide id; slides that stand alone are absent.

    Raises:
        LabelError: A column is absent or empty, or a table cannot be used.
    """
    named = {name: labels.column(name) for name in columns}
    if CASE_COLUMN in next(iter(labels.rows.values())):
        cases = labels.column(CASE_COLUMN)
        named |= {CASE_COLUMN: cases} if any(cases.values()) else {}
    sources = [source_of_column(name, values) for name, values in named.items()]
    sources += [read_group_table(path) for path in tables]
    if folds is not None and folds.group_of:
        sources.append(source_of_column(folds.path.name, folds.group_of))
    return join_groups(labels.labels, sources)


def side_by_side(
    predicted: Mapping[str, Predicted],
    labels: Mapping[str, int],
    group_of: Mapping[str, str] | None,
) -> Graded:
    """Labels, grades and scores of the slides that have both, in the order of the ids.

    Args:
        predicted: Prediction by slide id.
        labels: Grade by slide id.
        group_of: Group by slide id, slides without one standing alone; None for no groups.
    """
    ids = sorted(i for i in labels if i in predicted and predicted[i].grade is not None)
    grades = [predicted[i].grade for i in ids]
    scores = [predicted[i].score for i in ids]
    return Graded(
        slide_ids=ids,
        label=np.asarray([labels[i] for i in ids], np.int64),
        grade=np.asarray(grades, np.int64),
        score=np.asarray([np.nan if s is None else s for s in scores], np.float64),
        # A name no group can have keeps a lone slide apart from a group called like it.
        group=None if not group_of else [group_of.get(i, f"\0{i}") for i in ids],
    )
