"""The table of folds: which slides train, tune and test, drawn once and used by every command."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from hvit_cli.errors import DamagedFileError, LabelError
from hvit_cli.storage.atomic import write_text
from hvit_cli.storage.tables import write_table
from hvit_cli.training.folds import Fold
from hvit_cli.training.labels import LabelTable, read_labels
from hvit_cli.training.metrics import ISUP_GRADES
from hvit_cli.training.problems import Problem, problem, refuse

COLUMNS = ("slide_id", "label", "fold", "set", "group", "case_id")
# Names for all slides of the folds, and for all test sets together.
IN_FOLDS, IN_TESTS = "folds", "tests"
KIND = "hvit-folds"
SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class Folds:
    """A division of slides into cross-validation folds and test sets.

    Attributes:
        path: The table it was read from or will be written to.
        labels: Grade by slide id, of all slides, in the table's order.
        fold_of: Fold by slide id, of the slides that are not tested on.
        test_set_of: Name of the test set by slide id, of all others.
        group_of: Group by slide id; slides without one are absent and stand alone.
        case_of: Case by slide id; slides without one are absent.
        record: How the folds were drawn, from the file beside the table; None where the table
            came from elsewhere.
    """

    path: Path
    labels: Mapping[str, int]
    fold_of: Mapping[str, int]
    test_set_of: Mapping[str, str]
    group_of: Mapping[str, str]
    case_of: Mapping[str, str]
    record: Mapping[str, Any] | None = None

    @cached_property
    def numbers(self) -> tuple[int, ...]:
        """The folds, in ascending order."""
        return tuple(sorted(set(self.fold_of.values())))

    @cached_property
    def test_sets(self) -> tuple[str, ...]:
        """The names of the test sets, in the table's order."""
        return tuple(dict.fromkeys(self.test_set_of.values()))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of who is in which fold or test set with which label, whatever the order."""
        lines = (
            f"{i},{self.labels[i]},{self.fold_of.get(i, '')},{self.test_set_of.get(i, '')}\n"
            for i in sorted(self.labels)
        )
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def fold(self, number: int) -> Fold:
        """The slides of one fold tune, those of all other folds train; test slides do neither.

        Raises:
            LabelError: There is no such fold, or it is the only one.
        """
        self._require(number)
        return Fold(
            train=self._sorted(i for i, fold in self.fold_of.items() if fold != number),
            tune=self._sorted(i for i, fold in self.fold_of.items() if fold == number),
            origin=f"fold {number} of {self.path.name} tunes",
        )

    def test(self, name: str | None = None) -> dict[str, int]:
        """Grade by slide id of one test set, or of all of them; {} where there is none.

        Raises:
            LabelError: There is no test set of this name.
        """
        if name is not None and name not in self.test_sets:
            raise LabelError(
                "no such test set",
                where=self.path,
                found=", ".join(self.test_sets) or "none",
                wanted=name,
            )
        return self._sorted(i for i, test in self.test_set_of.items() if name in (None, test))

    def part(self, name: str) -> dict[str, int]:
        """Grade by slide id of a test set, of `tests`, all of them, or of `folds`, all folds.

        Raises:
            LabelError: There is no test set of this name.
        """
        if name == IN_FOLDS:
            return self._sorted(self.fold_of)
        return self.test(None if name == IN_TESTS else name)

    def part_of(self, slide_id: str, number: int) -> str:
        """What a slide is to the model of one fold: train, tune or a test set's name."""
        if slide_id in self.test_set_of:
            return self.test_set_of[slide_id]
        return "tune" if self.fold_of[slide_id] == number else "train"

    def contradictions(self, labels: LabelTable) -> list[Problem]:
        """Slides whose label in another table differs from the one they were divided by."""
        contrary = [
            f"{i} has {label}, was {self.labels[i]}"
            for i, label in labels.labels.items()
            if self.labels.get(i, label) != label
        ]
        unknown = [i for i in labels.rows if i not in self.labels]
        return [
            *problem(f"labels that differ from {self.path.name}", contrary),
            *problem(f"slides that {self.path.name} does not divide", unknown, "hvit split again"),
        ]

    def _require(self, number: int) -> None:
        if number not in self.numbers:
            raise LabelError(
                "no such fold",
                where=self.path,
                found=", ".join(map(str, self.numbers)) or "test slides only",
                wanted=number,
            )

    def _sorted(self, slide_ids: Iterable[str]) -> dict[str, int]:
        return {i: self.labels[i] for i in sorted(slide_ids)}


def record_path(table: Path) -> Path:
    """Where the record of a table of folds lies: `folds.json` beside `folds.csv`."""
    return table.with_suffix(".json")


def write_folds(folds: Folds) -> None:
    """Writes the table and, beside it, the record of how it was drawn.

    Raises:
        StorageError: One of the two cannot be written.
    """
    write_table(
        folds.path,
        COLUMNS,
        (
            {
                "slide_id": i,
                "label": label,
                "fold": folds.fold_of.get(i),
                "set": folds.test_set_of.get(i),
                "group": folds.group_of.get(i),
                "case_id": folds.case_of.get(i),
            }
            for i, label in folds.labels.items()
        ),
    )
    record = {"kind": KIND, "schema": SCHEMA, "digest": folds.digest, **(folds.record or {})}
    write_text(record_path(folds.path), json.dumps(record, indent=2, ensure_ascii=False) + "\n")


def read_folds(path: Path, *, grades: int = ISUP_GRADES) -> Folds:
    """Reads a table of folds: hvit's, or any with the columns slide_id, label and fold.

    Columns: `slide_id`, `label`; `fold`, a whole number, of slides that train and tune; `set`,
    the name of a test set, of those that do not; optionally `group` and `case_id`.

    Args:
        path: The table.
        grades: Number of classes of the label.

    Raises:
        StorageError: The file is no table.
        LabelError: It has problems; the message names all of them.
        DamagedFileError: The file beside it records another division.
    """
    table = read_labels(path, id_column="slide_id", label_column="label", grades=grades)
    folds = Folds(
        path=path,
        labels=table.labels,
        fold_of={i: int(r["fold"]) for i, r in table.rows.items() if _is_whole(r.get("fold", ""))},
        test_set_of=_filled(table, "set"),
        group_of=_filled(table, "group"),
        case_of=_filled(table, "case_id"),
    )
    refuse(
        "the table of folds cannot be used as it is",
        path,
        [*table.problems, *_problems(table, folds)],
    )
    return _with_record(folds)


def _problems(table: LabelTable, folds: Folds) -> list[Problem]:
    written = _filled(table, "fold")
    return [
        *problem(
            "slides whose fold is no whole number",
            [f"{i} has {text!r}" for i, text in written.items() if i not in folds.fold_of],
        ),
        *problem(
            "slides in a fold and in a test set", [i for i in written if i in folds.test_set_of]
        ),
        *problem(
            "slides in neither a fold nor a test set",
            [i for i in table.rows if i not in written and i not in folds.test_set_of],
        ),
    ]


def _with_record(folds: Folds) -> Folds:
    path = record_path(folds.path)
    if not path.is_file():
        return folds
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DamagedFileError("the record of the folds cannot be read", where=path) from error
    if not isinstance(record, dict) or record.get("kind") != KIND:
        return folds
    if record.get("digest") != folds.digest:
        raise DamagedFileError(
            "the table of folds was changed after it was drawn",
            where=folds.path,
            hint=f"hvit split again, or remove {path.name} to use the table as it is",
        )
    return replace(folds, record=record)


def _filled(table: LabelTable, column: str) -> dict[str, str]:
    return {i: row[column] for i, row in table.rows.items() if row.get(column)}


def _is_whole(text: str) -> bool:
    return text.isascii() and text.isdecimal()
