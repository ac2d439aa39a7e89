"""Tables of labels, taken as they are: any headings, ids as text, every problem at once."""

from __future__ import annotations

import hashlib
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hvit_cli.errors import LabelError
from hvit_cli.storage.tables import read_table
from hvit_cli.training.gleason import ACCEPTED, isup_of_text
from hvit_cli.training.metrics import ISUP_GRADES
from hvit_cli.training.problems import Problem, problem, refuse

ID_HEADINGS = ("slide_id", "image_id", "slide", "wsi")
LABEL_HEADINGS = ("label", "isup_grade", "isup")
# Looked for where no column has one of the headings above: a table may hold both.
GLEASON_HEADINGS = ("gleason_score", "gleason")
CASE_COLUMN = "case_id"
_ABSENT = {"", "na", "n/a", "nan", "none", "null"}

Row = dict[str, str]


@dataclass(frozen=True, kw_only=True)
class LabelTable:
    """The labels of some slides, as one table gives them.

    Attributes:
        path: The table.
        id_column: Heading of the column of slide ids.
        label_column: Heading of the column of labels; None in a table that only names slides.
        labels: Grade by slide id, in the table's order; rows with a problem are left out.
        rows: Every column as text, by slide id.
        problems: What is wrong with the table.
    """

    path: Path
    id_column: str
    label_column: str | None
    labels: Mapping[str, int]
    rows: Mapping[str, Row]
    problems: tuple[Problem, ...] = ()

    def column(self, name: str) -> dict[str, str]:
        """One column as text by slide id.

        Raises:
            LabelError: There is no such column.
        """
        first = next(iter(self.rows.values()), {})
        if name not in first:
            raise LabelError(
                "the table has no such column",
                where=self.path,
                found=", ".join(first),
                wanted=name,
            )
        return {slide_id: row[name] for slide_id, row in self.rows.items()}


def read_labels(
    path: Path,
    *,
    id_column: str | None = None,
    label_column: str | None = None,
    grades: int = ISUP_GRADES,
    exclude: Container[str] = (),
) -> LabelTable:
    """Reads a table of labels and gathers its problems without raising them.

    Columns are separated by commas, semicolons or tabs, whichever the heading holds most of.
    A label is a whole number ("3", and "3.0" as pandas writes it beside missing values), or a
    Gleason score ("3+4", "negative") where the classes are the six ISUP grades.

    Args:
        path: The table, a CSV file with a heading.
        id_column: Heading of the slide ids; None looks for one of `ID_HEADINGS`.
        label_column: Heading of the labels; None looks for one of `LABEL_HEADINGS`, then
            of `GLEASON_HEADINGS`.
        grades: Number of classes; labels run from 0 to one less.
        exclude: Slides to leave out, whatever is wrong with their rows.

    Raises:
        StorageError: The file is no table.
        LabelError: A column is absent or not the only candidate.
    """
    heading, body = read_rows(path)
    identity = choose_heading(path, heading, id_column, ID_HEADINGS, "--id-column")
    usual: tuple[str, ...] = LABEL_HEADINGS
    if grades == ISUP_GRADES and not any(name.casefold() in usual for name in heading):
        usual += GLEASON_HEADINGS
    labelling = choose_heading(path, heading, label_column, usual, "--label-column")
    body = [row for row in body if row[identity] not in exclude]
    return _label_table(path, body, identity, labelling, grades)


def read_slide_ids(
    path: Path, *, id_column: str | None = None, label_column: str | None = None
) -> LabelTable:
    """Reads a table that names slides, with labels if it happens to hold a column of them.

    Raises:
        StorageError: The file is no table.
        LabelError: Its column of ids is absent or not the only candidate.
    """
    heading, body = read_rows(path)
    identity = choose_heading(path, heading, id_column, ID_HEADINGS, "--id-column")
    usual = LABEL_HEADINGS if label_column is None else (label_column.casefold(),)
    found = [name for name in heading if name.casefold() in usual]
    labelling = found[0] if len(found) == 1 else None
    return _label_table(path, body, identity, labelling, ISUP_GRADES)


def require_sound(table: LabelTable) -> LabelTable:
    """The table itself.

    Raises:
        LabelError: The table has problems; the message names all of them.
    """
    refuse("the table of labels cannot be used as it is", table.path, table.problems)
    return table


def labels_hash(labels: Mapping[str, int]) -> str:
    """SHA-256 of ids and labels, whatever their order and the rest of the table."""
    lines = "".join(f"{slide_id},{labels[slide_id]}\n" for slide_id in sorted(labels))
    return hashlib.sha256(lines.encode()).hexdigest()


def _label_table(
    path: Path, body: Sequence[Row], id_column: str, label_column: str | None, grades: int
) -> LabelTable:
    labels: dict[str, int] = {}
    rows: dict[str, Row] = {}
    nameless, missing, unknown, twice = [], [], [], []
    for number, row in enumerate(body, start=1):
        slide_id = row[id_column]
        if not slide_id:
            nameless.append(f"row {number}")
            continue
        if slide_id in rows:
            twice.append(slide_id)
            continue
        rows[slide_id] = row
        if label_column is None:
            continue
        text = row[label_column]
        grade = _grade(text, grades)
        if text.casefold() in _ABSENT:
            missing.append(slide_id)
        elif grade is None:
            unknown.append(f"{slide_id} has {text!r}")
        else:
            labels[slide_id] = grade
    return LabelTable(
        path=path,
        id_column=id_column,
        label_column=label_column,
        labels=labels,
        rows=rows,
        problems=(
            *problem("rows without an id", nameless),
            *problem("ids that occur more than once", dict.fromkeys(twice)),
            *problem("ids without a label", missing),
            *problem(f"unknown grades, wanted {_wanted(grades)}", unknown),
        ),
    )


def _wanted(grades: int) -> str:
    return f"0 to {grades - 1}" + (f" or {ACCEPTED}" if grades == ISUP_GRADES else "")


def _grade(text: str, grades: int) -> int | None:
    try:
        value = float(text)
    except ValueError:
        return isup_of_text(text) if grades == ISUP_GRADES else None
    return int(value) if value.is_integer() and 0 <= value < grades else None


def read_rows(path: Path) -> tuple[list[str], list[Row]]:
    """Headings and rows of a table, every value as text.

    Raises:
        StorageError: The file is no table.
        LabelError: It has no rows, or two columns of one heading.
    """
    heading, body = read_table(path)
    if not body:
        raise LabelError("the table holds no rows", where=path, wanted="a heading and rows")
    if len(set(heading)) != len(heading):
        raise LabelError("two columns have one heading", where=path, found=", ".join(heading))
    return heading, body


def choose_heading(
    path: Path, heading: Sequence[str], asked: str | None, usual: Sequence[str], option: str
) -> str:
    """The heading that was asked for, or the only one that is usual for its purpose.

    Args:
        path: The table, for the message.
        heading: Its headings.
        asked: The heading that was asked for, exactly; None looks for a usual one.
        usual: Usual headings in lower case; upper case in the table is accepted.
        option: The option that names a heading.

    Raises:
        LabelError: There is none, or there are several.
    """
    if asked is not None:
        found = [name for name in heading if name == asked]
    else:
        found = [name for name in heading if name.casefold() in usual]
    if len(found) == 1:
        return found[0]
    raise LabelError(
        "several columns could be meant" if found else "the table lacks a column",
        where=path,
        found="the headings " + ", ".join(found or heading),
        wanted=asked or "one of " + ", ".join(usual),
        hint=f"{option} with one of the headings",
    )
