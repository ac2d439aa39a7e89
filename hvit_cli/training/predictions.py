"""Tables of predictions, hvit's own or any other: a slide's grade and score, and by which model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hvit_cli.errors import LabelError, UsageError
from hvit_cli.training.labels import ID_HEADINGS, choose_heading, read_rows
from hvit_cli.training.metrics import ISUP_GRADES, grade_of
from hvit_cli.training.problems import problem, refuse

# A table may hold the label beside the prediction: its usual headings are never guessed.
GRADE_HEADINGS = ("grade", "prediction", "predicted_grade")
SCORE_HEADINGS = ("score",)
FOLD_COLUMN, SEED_COLUMN = "fold", "seed"
# Columns of which a table may hold several values, of which one is judged at a time.
FILTERS = ("model", "attention")

Run = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class Predicted:
    """What was predicted for one slide.

    Attributes:
        grade: The grade; None where the slide has none (no tissue, failed).
        score: The unrounded score; None where the table has none.
        reason: Why there is no grade, where the table says it.
    """

    grade: int | None
    score: float | None
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class PredictionTable:
    """The predictions of one table.

    Attributes:
        path: The table.
        runs: What each (fold, seed) predicted, by slide id; a table without such columns has
            one run, ("", "").
        rows: The last row of each slide, every column as text.
        unrounded: Slides whose grade is not their rounded score.
    """

    path: Path
    runs: Mapping[Run, Mapping[str, Predicted]]
    rows: Mapping[str, Mapping[str, str]]
    unrounded: Sequence[str] = ()

    def together(self, grades: int = ISUP_GRADES) -> dict[str, Predicted]:
        """One prediction a slide: its own where it has one, else that of the mean score.

        Raises:
            LabelError: A slide has several predictions, and no scores to average.
        """
        of: dict[str, list[Predicted]] = {}
        for run in self.runs.values():
            for slide_id, predicted in run.items():
                of.setdefault(slide_id, []).append(predicted)
        return {i: _mean(self.path, i, several, grades) for i, several in of.items()}

    @property
    def repeats(self) -> bool:
        """Whether any slide was predicted by more than one run."""
        return sum(map(len, self.runs.values())) > len(self.rows)


def read_predictions(
    path: Path,
    *,
    id_column: str | None = None,
    prediction_column: str | None = None,
    score_column: str | None = None,
    fold_column: str | None = None,
    model: str | None = None,
    attention: str | None = None,
    grades: int = ISUP_GRADES,
) -> PredictionTable:
    """Reads a table of predictions.

    Args:
        path: The table.
        id_column: Heading of the slide ids; None looks for a usual one.
        prediction_column: Heading of the grades; None looks for one of `GRADE_HEADINGS`. A table
            with scores alone is graded by rounding them.
        score_column: Heading of the scores; None looks for `score`, and does without.
        fold_column: Heading of the folds; None looks for `fold`, and does without.
        model: Take the rows of this model.
        attention: Take the rows of this kind of attention.
        grades: Number of classes.

    Raises:
        StorageError: The file is no table.
        LabelError: It cannot be used as it is; the message names all problems.
        UsageError: It holds several models or attentions, and none was chosen.
    """
    heading, rows = read_rows(path)
    identity = choose_heading(path, heading, id_column, ID_HEADINGS, "--id-column")
    scoring = _optional(path, heading, score_column, SCORE_HEADINGS, "--score-column")
    usual = [name for name in heading if name.casefold() in GRADE_HEADINGS]
    grading = None
    if prediction_column is not None or usual or scoring is None:
        grading = choose_heading(
            path, heading, prediction_column, GRADE_HEADINGS, "--prediction-column"
        )
    rows = _filtered(path, heading, rows, {"model": model, "attention": attention})
    folding = _optional(path, heading, fold_column, (FOLD_COLUMN,), "--fold-column")
    runs: dict[Run, dict[str, Predicted]] = {}
    nameless, twice, unknown, numberless, unrounded = [], [], [], [], []
    for number, row in enumerate(rows, start=1):
        slide_id = row[identity]
        run = (row[folding] if folding else "", row.get(SEED_COLUMN, ""))
        here = runs.setdefault(run, {})
        grade, score = _grade(row, grading, grades), _score(row, scoring)
        if not slide_id:
            nameless.append(f"row {number}")
        elif slide_id in here:
            twice.append(slide_id)
        if grading and row[grading] and grade is None:
            unknown.append(f"{slide_id} has {row[grading]!r}")
        if scoring and row[scoring] and score is None:
            numberless.append(f"{slide_id} has {row[scoring]!r}")
        if score is not None:
            rounded = int(grade_of(score, grades))
            grade = rounded if grading is None else grade
            if grade is not None and grade != rounded:
                unrounded.append(slide_id)
        reason = row.get("reason", "") or row.get("status", "")
        here[slide_id] = Predicted(grade=grade, score=score, reason=reason)
    refuse(
        "the table of predictions cannot be used as it is",
        path,
        [
            *problem("rows without an id", nameless),
            *problem("ids that occur more than once", dict.fromkeys(twice)),
            *problem(f"unknown grades, wanted 0 to {grades - 1}", unknown),
            *problem("scores that are no numbers", numberless),
        ],
    )
    return PredictionTable(
        path=path,
        runs=runs,
        rows={row[identity]: row for row in rows},
        unrounded=unrounded,
    )


def heading_if_present(path: Path, column: str | None) -> str | None:
    """The heading itself where the table has it, and None where it must be guessed.

    Options that name a heading serve predictions and labels at once, and one of the two may
    call it otherwise.
    """
    return column if column in read_rows(path)[0] else None


def _filtered(
    path: Path,
    heading: Sequence[str],
    rows: Sequence[dict[str, str]],
    asked: Mapping[str, str | None],
) -> list[dict[str, str]]:
    for name, wanted in asked.items():
        if wanted is not None and name not in heading:
            raise LabelError("the table has no such column", where=path, wanted=name)
    kept = [r for r in rows if all(r[n] == v for n, v in asked.items() if v is not None)]
    ambiguous = [
        name for name in FILTERS if name in heading and len({row[name] for row in kept}) > 1
    ]
    if kept and not ambiguous:
        return kept
    names = [name for name in FILTERS if name in heading]
    choices = sorted({" ".join(f"--{name} {row[name]}" for name in names) for row in rows})
    raise UsageError(
        "the table holds predictions of several models or attentions"
        if ambiguous
        else "the table holds no such predictions",
        where=path,
        found=", ".join(choices),
        wanted="one of them",
    )


def _optional(
    path: Path, heading: Sequence[str], asked: str | None, usual: Sequence[str], option: str
) -> str | None:
    if asked is None and not any(name.casefold() in usual for name in heading):
        return None
    return choose_heading(path, heading, asked, usual, option)


def _grade(row: Mapping[str, str], column: str | None, grades: int) -> int | None:
    value = _number(row[column]) if column else None
    if value is None or not value.is_integer() or not 0 <= value < grades:
        return None
    return int(value)


def _score(row: Mapping[str, str], column: str | None) -> float | None:
    return _number(row[column]) if column else None


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if np.isfinite(value) else None


def _mean(path: Path, slide_id: str, several: Sequence[Predicted], grades: int) -> Predicted:
    if len(several) == 1:
        return several[0]
    scores = [p.score for p in several if p.score is not None]
    if any(p.grade is None for p in several):
        return next(p for p in several if p.grade is None)
    if len(scores) != len(several):
        raise LabelError(
            "a slide has several predictions without scores to average",
            where=path,
            found=slide_id,
            hint="--score-column",
        )
    mean = float(np.mean(scores))
    return Predicted(grade=int(grade_of(mean, grades)), score=mean)
