"""What a person sees: results on stdout, progress and errors on stderr.

Paths and messages are escaped before Rich sees them, so that `[batch1]` in a path survives.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from hvit_cli.cli.commands import NOT_A_DEVICE as NOT_A_DEVICE
from hvit_cli.cli.patch_bars import PatchBars

if TYPE_CHECKING:
    from hvit_cli.engine.run import SlideRecord
    from hvit_cli.errors import HvitError
    from hvit_cli.storage.status import StatusRow
    from hvit_cli.training.bootstrap import Interval

T = TypeVar("T")

_PIPE_WIDTH = 1_000_000
# A longer table is not read but searched, which the files are for.
_LONGEST_TABLE = 100
_MOST_ODD = 20


def _stdout() -> Console:
    # Made anew each time: tests and pipes replace sys.stdout after this module is imported.
    console = Console(highlight=False, soft_wrap=False)
    # A pipe has no edge: a line of a table is one line, and whole.
    return console if console.is_terminal else Console(highlight=False, width=_PIPE_WIDTH)


def _stderr() -> Console:
    return Console(stderr=True, highlight=False, soft_wrap=True)


def say(text: str) -> None:
    """Prints a line of result."""
    _stdout().print(escape(text), soft_wrap=True)


def note(text: str) -> None:
    """Prints a line about the run on stderr."""
    _stderr().print(escape(text))


class _Notes(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        note(f"{record.levelname.capitalize()}: {record.getMessage()}")


def listen(verbose: bool) -> None:
    """Shows what the library logs: warnings, and with `verbose` what it does as well."""
    logger = logging.getLogger("hvit_cli")
    logger.handlers = [_Notes()]
    logger.setLevel(logging.INFO if verbose else logging.WARNING)


def say_error(error: HvitError) -> None:
    """Prints the one line of an error."""
    _stderr().print(f"[bold red]Error[/] {escape(str(error))}")


def say_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Prints a table of results; None is an empty cell."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        # The first column is what people copy: it is never broken over two lines.
        table.add_column(column, overflow="fold", no_wrap=column == columns[0])
    for row in rows:
        table.add_row(*("" if cell is None else escape(str(cell)) for cell in row))
    console = _stdout()
    if console.is_terminal:
        console.print(table)
        return
    with console.capture() as printed:
        console.print(table)
    # Rich fills the last column up, by the hundreds of spaces where one reason is long.
    for line in printed.get().splitlines():
        typer.echo(line.rstrip())


def say_json(value: Any) -> None:
    """Prints records as JSON, dataclasses as objects and paths as text."""
    typer.echo(json.dumps(_plain(value), indent=2, ensure_ascii=False, allow_nan=False))


def follow(
    records: Iterable[SlideRecord[T]],
    stage: str,
    *,
    with_products: bool = True,
    bars: PatchBars | None = None,
) -> list[SlideRecord[T]]:
    """Shows each slide as it is done and returns all records.

    On a terminal a bar counts the slides; elsewhere every slide is one plain line.

    Args:
        records: The records of a run.
        stage: Its name.
        with_products: Whether what was made is kept until the end, too much for many slides.
        bars: Shows how far each slide is.

    Raises:
        SlideError: The run was over a single slide, and it failed.
    """
    from hvit_cli.errors import SlideError

    if not with_products:
        records = (replace(record, product=None) for record in records)
    done = _followed(records, stage, bars or PatchBars())
    if len(done) == 1 and done[0].row.status == "failed":
        raise SlideError(done[0].row.reason)
    return done


def _followed(
    records: Iterable[SlideRecord[T]], stage: str, bars: PatchBars
) -> list[SlideRecord[T]]:
    console = _stderr()
    if not console.is_terminal:
        return [_said(record) for record in records]
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[slide]}"),
    )
    done = []
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(stage, total=None, slide="")
        bars.show_on(progress)
        for record in records:
            bars.end(record.row.slide_id)
            progress.update(
                task, total=record.total, completed=record.number, slide=escape(record.row.slide_id)
            )
            if record.row.status == "failed" and record.total > 1:
                progress.console.print(f"[bold red]failed[/] {escape(_line(record.row))}")
            done.append(record)
    return done


def _said(record: SlideRecord[T]) -> SlideRecord[T]:
    row = record.row
    # The reason of a single slide's failure is the command's error, said once.
    if row.status != "failed" or record.total > 1:
        note(f"[{record.number}/{record.total}] {row.stage} {row.status} {_line(row)}")
    return record


def _line(row: StatusRow) -> str:
    parts = [row.slide_id, f"{row.seconds:.1f} s", row.reason]
    return " · ".join(part for part in parts if part)


def say_status(records: Sequence[SlideRecord[Any]]) -> None:
    """Prints the table of what became of each slide, or of many how many became what."""
    records = worth_showing(records, "status.csv in the work folder")
    if not records:
        return
    columns = (
        "slide",
        "status",
        "µm/px",
        "regions",
        "patches",
        "tissue mm²",
        "dropped mm²",
        "seconds",
        "reason",
    )
    say_table(
        columns,
        (
            (
                r.row.slide_id,
                r.row.status,
                number(r.row.spacing_um, 4),
                r.row.n_regions,
                r.row.n_patches,
                number(r.row.tissue_mm2, 2),
                number(r.row.tissue_dropped_mm2, 2),
                f"{r.row.seconds:.1f}",
                r.row.reason,
            )
            for r in records
        ),
    )


def worth_showing(records: Sequence[SlideRecord[T]], file: str) -> Sequence[SlideRecord[T]]:
    """All records, or of many the first ones without a result, said beforehand.

    Args:
        records: The records of a run.
        file: Which file has all of them.
    """
    if len(records) <= _LONGEST_TABLE:
        return records
    statuses = Counter(record.row.status for record in records)
    counts = ", ".join(f"{count} {status}" for status, count in statuses.most_common())
    say(f"{len(records)} slides: {counts}; all of them: {file}")
    odd = [record for record in records if record.row.status != "done"]
    # What failed is what somebody must see to.
    odd.sort(key=lambda record: record.row.status != "failed")
    if len(odd) > _MOST_ODD:
        say(f"The first {_MOST_ODD} of {len(odd)} slides without a result:")
    return odd[:_MOST_ODD]


def finish(records: Sequence[SlideRecord[Any]]) -> None:
    """Ends the command after its results are printed.

    Raises:
        SomeSlidesFailedError: At least one slide failed.
    """
    from hvit_cli.errors import SomeSlidesFailedError

    failed = [record.row for record in records if record.row.status == "failed"]
    if not failed:
        return
    raise SomeSlidesFailedError(
        f"{len(failed)} of {len(records)} slides failed, the rest is done",
        where=", ".join(row.slide_id for row in failed[:5]) + (", …" if len(failed) > 5 else ""),
        hint="status.csv in the work folder, which has every reason",
    )


def end_part(records: Sequence[SlideRecord[Any]], page: Path) -> None:
    """Ends a command that did one part of the slides, whose rows wait for a page of all parts.

    Raises:
        SomeSlidesFailedError: At least one slide failed.
    """
    note(f"The rows of this part are kept; the same command without --shard writes {page}")
    finish(records)


def number(value: float | None, digits: int) -> str | None:
    """A number with so many decimals; None stays None, an empty cell."""
    return None if value is None else f"{value:.{digits}f}"


def interval(measured: Interval, digits: int) -> str:
    """A number with its interval in brackets, where it has one."""
    if measured.value is None:
        return "undefined"
    text = f"{measured.value:.{digits}f}"
    if measured.low is None or measured.high is None:
        return text
    return f"{text} ({measured.low:.3f}–{measured.high:.3f})"


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, Path):
        return str(value)
    return value


def each_said(records: Iterable[T], line: Any) -> Iterator[T]:
    """Passes records on, noting `line(record)` for each as it comes."""
    for record in records:
        note(line(record))
        yield record
