"""`hvit split`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from hvit_cli.cli import console, options
from hvit_cli.errors import UsageError
from hvit_cli.settings import SplitSettings, sentence

if TYPE_CHECKING:
    from hvit_cli.training.split_report import SplitReport

_TABLE, _DRAW, _GROUPS = "Labels", "Division", "Groups"


def _option(panel: str, name: str, text: str) -> Any:
    return typer.Option(name, help=text, rich_help_panel=panel)


def _setting(name: str) -> Any:
    return _option(_DRAW, "--" + name.replace("_", "-"), sentence(SplitSettings, name))


def split(
    tables: Annotated[
        list[Path],
        typer.Argument(
            metavar="LABELS",
            help="Table of slide ids and labels (CSV); with --check one table or more.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="Table of folds (CSV); without it nothing is written."),
    ] = None,
    folds: Annotated[int, _setting("folds")] = SplitSettings.folds,
    stratify: Annotated[str, _setting("stratify")] = ",".join(SplitSettings.stratify),
    test_fraction: Annotated[float, _setting("test_fraction")] = SplitSettings.test_fraction,
    test: Annotated[
        list[Path] | None,
        _option(_DRAW, "--test", "Table of test slides; a test set each, named after its file."),
    ] = None,
    fold_column: Annotated[
        str | None, _option(_DRAW, "--fold-column", "Column of LABELS with folds to keep.")
    ] = None,
    seed: options.Seed = SplitSettings.seed,
    group_column: Annotated[
        list[str] | None,
        _option(_GROUPS, "--group-column", "Column whose equal values stay together."),
    ] = None,
    group_table: Annotated[
        list[Path] | None,
        _option(_GROUPS, "--group-table", "Table of slide ids and groups that stay together."),
    ] = None,
    straddling: Annotated[
        Literal["refuse", "drop", "keep"],
        _option(
            _GROUPS,
            "--straddling",
            "Groups that given parts divide: refuse, drop slides with company in a test set, keep.",
        ),
    ] = "refuse",
    check: Annotated[
        bool,
        _option(_DRAW, "--check", "Only report on parts that exist: one table each, or columns."),
    ] = False,
    id_column: Annotated[
        str | None, _option(_TABLE, "--id-column", "Heading of the slide ids.")
    ] = None,
    label_column: Annotated[
        str | None, _option(_TABLE, "--label-column", "Heading of the labels.")
    ] = None,
    exclude: options.Exclude = None,
    by: Annotated[
        list[str] | None, _option(_TABLE, "--by", "Further column to count in every part.")
    ] = None,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Divide slides into folds and test sets, before anything is trained."""
    from hvit_cli.pipelines import split as pipeline

    columns, group_tables = tuple(group_column or ()), tuple(group_table or ())
    if check:
        found = pipeline.check(
            tables,
            id_column=id_column,
            fold_column=fold_column,
            group_columns=columns,
            group_tables=group_tables,
            by=tuple(by or ()),
        )
        _say(found, as_json)
        return
    if len(tables) != 1:
        raise UsageError(
            "one table of labels is divided",
            found=", ".join(map(str, tables)),
            hint="--check, which reports on several tables as the parts of a division",
        )
    done = pipeline.split(
        pipeline.SplitRequest(
            labels=tables[0],
            out=out,
            settings=SplitSettings(
                folds=folds,
                stratify=tuple(name.strip() for name in stratify.split(",")),
                test_fraction=test_fraction,
                seed=seed,
            ),
            id_column=id_column,
            label_column=label_column,
            group_columns=columns,
            group_tables=group_tables,
            tests=tuple(test or ()),
            fold_column=fold_column,
            exclude=exclude,
            straddling=straddling,
            by=tuple(by or ()),
        )
    )
    _say(done.report, as_json)
    if done.dropped:
        console.note(f"{len(done.dropped)} slides left out: their group is tested on.")
    console.note(f"Folds: {out}" if out else "Nothing was written; -o folds.csv keeps the folds.")


def _say(found: SplitReport, as_json: bool) -> None:
    if as_json:
        console.say_json(found)
        return
    values = {
        column: sorted({value for part in found.parts for value in part.counts[column]})
        for column in found.parts[0].counts
    }
    console.say_table(
        (
            "part",
            "slides",
            *(f"{column} {value}" for column, of in values.items() for value in of),
            "groups",
        ),
        (
            (
                part.name,
                part.slides,
                *(
                    _share(part.counts[column].get(value, 0), part.slides)
                    for column, of in values.items()
                    for value in of
                ),
                part.groups,
            )
            for part in found.parts
        ),
    )
    if found.label_deviation is not None:
        console.say(
            f"Shares of grades differ by at most {found.label_deviation:.2%} (relative) between "
            "a part and the whole."
        )
    for column, points in found.share_deviation.items():
        if column != "label":
            console.say(f"Shares of {column} differ by at most {points:.2f} points.")
    if found.groups:
        console.say(
            f"{found.groups} groups of two and more slides, the largest of {found.largest_group}; "
            f"{len(found.straddling)} are in more than one part ({found.straddling_slides} slides)."
        )
    if found.repeated:
        console.say(f"{len(found.repeated)} slides are in more than one part.")
    for doubt in found.doubts:
        console.say(f"To look at: {doubt}")


def _share(count: int, total: int) -> str:
    return f"{count} ({count / total:.1%})" if total else "0"
