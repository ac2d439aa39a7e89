"""`hvit split`: folds and test sets, drawn or given once, before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from hvit_cli.errors import UsageError
from hvit_cli.settings import SplitSettings, as_recipe
from hvit_cli.slides.table import read_slide_ids as read_excluded
from hvit_cli.storage.recipe import recipe_of
from hvit_cli.training import division
from hvit_cli.training.fold_table import Folds, write_folds
from hvit_cli.training.groups import GroupSource, join_groups, read_group_table, source_of_column
from hvit_cli.training.labels import (
    CASE_COLUMN,
    LabelTable,
    labels_hash,
    read_labels,
    read_slide_ids,
)
from hvit_cli.training.metrics import ISUP_GRADES
from hvit_cli.training.problems import problem, refuse
from hvit_cli.training.split_report import (
    SplitReport,
    inconsistent_rows,
    mixed_cases,
    rare_labels,
    report,
)
from hvit_cli.training.splits import METHOD

Straddling = Literal["refuse", "drop", "keep"]

# Always counted where the table has it: PANDA's centres differ in stain, scanner and grader.
PROVIDER_COLUMN = "data_provider"


@dataclass(frozen=True, kw_only=True)
class SplitRequest:
    """What is to be divided, and how.

    Attributes:
        labels: Table of labels.
        out: Where the folds go; None only reports.
        settings: How to draw.
        id_column: Heading of the slide ids; None guesses.
        label_column: Heading of the labels; None guesses.
        group_columns: Columns of `labels` whose values keep slides together.
        group_tables: Tables of slide ids and groups.
        tests: Tables of test slides, one set each, called after their files.
        fold_column: Column of `labels` with folds that are given.
        exclude: Table of slides to leave out, with a column slide_id.
        straddling: What to do with groups that given parts divide: refuse, drop from the folds
            the slides that have company in a test set, or keep them divided.
        by: Further columns to count in the report.
        grades: Number of classes of the label.
    """

    labels: Path
    out: Path | None
    settings: SplitSettings = field(default_factory=SplitSettings)
    id_column: str | None = None
    label_column: str | None = None
    group_columns: tuple[str, ...] = ()
    group_tables: tuple[Path, ...] = ()
    tests: tuple[Path, ...] = ()
    fold_column: str | None = None
    exclude: Path | None = None
    straddling: Straddling = "refuse"
    by: tuple[str, ...] = ()
    grades: int = ISUP_GRADES

    def __post_init__(self) -> None:
        if self.tests and self.settings.test_fraction:
            raise UsageError("--test and --test-fraction both say what is tested on")
        if self.fold_column is not None and self.settings.test_fraction:
            raise UsageError(
                "given folds leave nothing to draw a test set from",
                hint="--test with a table of test slides",
            )
        if self.out is not None and self.out.suffix.lower() != ".csv":
            raise UsageError("folds are written as CSV", where=self.out, wanted="a name in .csv")


@dataclass(frozen=True, kw_only=True)
class Split:
    """A division and what it is like.

    Attributes:
        folds: The division, as written.
        report: What it is like.
        dropped: Slides left out because their group is tested on.
    """

    folds: Folds
    report: SplitReport
    dropped: Sequence[str] = ()


def split(request: SplitRequest) -> Split:
    """Divides slides, writes the table of folds if asked to, and reports.

    Raises:
        LabelError: Tables cannot be used as they are, or groups straddle given parts.
    """
    excluded = frozenset[str]() if request.exclude is None else read_excluded(request.exclude)
    table = read_labels(
        request.labels,
        id_column=request.id_column,
        label_column=request.label_column,
        grades=request.grades,
        exclude=excluded,
    )
    tests = [read_slide_ids(path) for path in request.tests]
    test_set_of = division.named_test_sets(table, tests)
    labels = {**{i: g for test in tests for i, g in test.labels.items()}, **table.labels}
    case_of = {i: row[CASE_COLUMN] for i, row in table.rows.items() if row.get(CASE_COLUMN)}
    sources = _sources(request, table)
    group_of = join_groups(labels, sources)
    inside = {i: label for i, label in table.labels.items() if i not in test_set_of}
    dropped: list[str] = []
    if request.straddling == "drop":
        inside, dropped = division.without_company(inside, test_set_of, group_of)
    _refuse_hopeless(request, inside, group_of)
    if request.fold_column is None:
        fold_of, drawn = division.drawn_folds(request.settings, table, inside, group_of)
        test_set_of |= dict.fromkeys(drawn, division.DRAWN_TEST)
    else:
        fold_of, drawn = division.given_folds(table, request.fold_column, inside), []
    part_of = division.part_names(fold_of, test_set_of)
    if request.straddling != "keep":
        division.refuse_straddling(part_of, group_of, request.labels)
    left = [i for i in labels if i in part_of]
    folds = Folds(
        path=request.out or Path("folds.csv"),
        labels={i: labels[i] for i in left},
        fold_of=fold_of,
        test_set_of=test_set_of,
        group_of={i: group_of[i] for i in left if i in group_of},
        case_of={i: case_of[i] for i in left if i in case_of},
        record=_record(request, table, sources, dropped),
    )
    named = [test.path.stem for test in tests]
    described = report(
        part_of,
        folds.labels,
        {name: _cells(table.rows, name) for name in _counted(request, table)},
        folds.group_of,
        drawn=[part for part in dict.fromkeys(part_of.values()) if part not in named],
        doubts=[
            *inconsistent_rows(table),
            *mixed_cases(folds.case_of, folds.labels),
            *rare_labels(inside, group_of, len(set(fold_of.values()))),
        ],
    )
    if request.out is not None:
        write_folds(folds)
    return Split(folds=folds, report=described, dropped=dropped)


def check(
    tables: Sequence[Path],
    *,
    id_column: str | None = None,
    fold_column: str | None = None,
    group_columns: Sequence[str] = (),
    group_tables: Sequence[Path] = (),
    by: Sequence[str] = (),
) -> SplitReport:
    """Reports on a division that exists: one table per part, or one with a column of folds.

    Args:
        tables: One table for each part, or a single table that says each slide's part.
        id_column: Heading of the slide ids; None guesses.
        fold_column: The column of a single table that says it; `fold` and `set` by default.
        group_columns: Columns whose values should keep slides together.
        group_tables: Tables of slide ids and groups.
        by: Further columns to count.

    Raises:
        LabelError: A table cannot be used as it is.
        UsageError: A single table does not say each slide's part.
    """
    read = [read_slide_ids(path, id_column=id_column) for path in tables]
    for table in read:
        twice = [found for found in table.problems if "more than once" in found.what]
        refuse("the table cannot be used as it is", table.path, twice)
    rows = {i: row for table in reversed(read) for i, row in table.rows.items()}
    if len(read) == 1:
        part_of, repeated = _parts_of(read[0], fold_column), []
    else:
        tables_of: dict[str, list[str]] = {}
        for table in read:
            for i in table.rows:
                tables_of.setdefault(i, []).append(table.path.stem)
        part_of = {i: names[0] for i, names in tables_of.items()}
        repeated = [i for i, names in tables_of.items() if len(names) > 1]
    grouping = dict.fromkeys((*group_columns, CASE_COLUMN, "group"))
    sources = [source_of_column(name, _cells(rows, name)) for name in grouping if _any(rows, name)]
    sources += [read_group_table(path, id_column=id_column) for path in group_tables]
    counted = [name for name in dict.fromkeys((PROVIDER_COLUMN, *by)) if _any(rows, name)]
    return report(
        part_of,
        {i: label for table in read for i, label in table.labels.items()},
        {name: _cells(rows, name) for name in counted},
        join_groups(part_of, sources),
        repeated=repeated,
        doubts=[doubt for table in read for doubt in inconsistent_rows(table)],
    )


def _sources(request: SplitRequest, table: LabelTable) -> list[GroupSource]:
    columns = list(dict.fromkeys(request.group_columns))
    if CASE_COLUMN not in columns and _any(table.rows, CASE_COLUMN):
        columns.append(CASE_COLUMN)
    return [
        *(source_of_column(name, table.column(name)) for name in columns),
        *(read_group_table(path) for path in request.group_tables),
    ]


def _refuse_hopeless(
    request: SplitRequest, slides: Mapping[str, int], group_of: Mapping[str, str]
) -> None:
    """Refuses what no draw could divide, everything in one error."""
    units = {group_of.get(i, f"slide {i}") for i in slides}
    parts = request.settings.folds + (request.settings.test_fraction > 0)
    classes = sorted(set(slides.values()))
    few = request.fold_column is None and len(units) < parts
    refuse(
        "these labels cannot be divided",
        request.labels,
        [
            *problem(
                f"groups or single slides for {parts} parts",
                sorted(units) if few else [],
                "fewer --folds",
            ),
            *problem("class of label only", map(str, classes) if len(classes) == 1 else []),
            *problem("slides left for the folds", [] if slides else ["none"]),
        ],
    )


def _record(
    request: SplitRequest, table: LabelTable, sources: Sequence[GroupSource], dropped: Sequence[str]
) -> dict[str, object]:
    return recipe_of(
        settings={
            "method": METHOD,
            **as_recipe(request.settings),
            "groups": [source.name for source in sources],
            "tests": [path.name for path in request.tests],
            "fold_column": request.fold_column,
            "straddling": request.straddling,
        },
        inputs={"labels": labels_hash(table.labels), "dropped": list(dropped)},
    )


def _counted(request: SplitRequest, table: LabelTable) -> list[str]:
    usual = [PROVIDER_COLUMN] if _any(table.rows, PROVIDER_COLUMN) else []
    asked = [name for name in (*request.settings.stratify, *request.by) if name != "label"]
    for name in asked:
        table.column(name)  # an error where there is none
    return list(dict.fromkeys([*usual, *asked]))


def _parts_of(table: LabelTable, fold_column: str | None) -> dict[str, str]:
    names = ("fold", "set") if fold_column is None else (fold_column,)
    found = [name for name in names if _any(table.rows, name)]
    if not found:
        raise UsageError(
            "a single table must say which part each slide is in",
            where=table.path,
            wanted="a column " + " or ".join(names),
            hint="--fold-column, or one table for each part",
        )
    parts = {name: _cells(table.rows, name) for name in found}
    part_of = {i: f"{name} {part}" for name, of in parts.items() for i, part in of.items()}
    return dict(sorted(part_of.items(), key=lambda item: (len(item[1]), item[1])))


def _cells(rows: Mapping[str, Mapping[str, str]], name: str) -> dict[str, str]:
    return {i: row[name] for i, row in rows.items() if row.get(name)}


def _any(rows: Mapping[str, Mapping[str, str]], name: str) -> bool:
    return any(row.get(name) for row in rows.values())
