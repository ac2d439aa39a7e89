"""What happened to every slide: append-only logs, merged into `status.csv`.

Each process appends one line per slide and stage to its own log,
`status/<shard>-<host>-<pid>.jsonl`, so that processes never write to one file.
`status.csv` is the merged view: the latest line of each slide and stage.
"""

from __future__ import annotations

import csv
import io
import os
import platform
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from hvit_cli.slides.cells import spreadsheet_safe
from hvit_cli.storage.atomic import write_text
from hvit_cli.storage.lines import append_line, lines_of

Status = Literal["done", "failed", "no_tissue", "empty_mask", "no_region", "skipped"]


@dataclass(frozen=True, kw_only=True)
class StatusRow:
    """One slide at one stage.

    Attributes:
        slide_id: The slide's name without suffix.
        path: The slide's file or folder.
        stage: segment, tile, embed, predict or heatmap.
        status: How it ended.
        reason: Why it failed or was skipped, one line; "reused" where nothing was to do.
        seconds: Wall-clock time; where two slides were worked on at a time, the time by which this
            one made the run longer.
        spacing_um: Achieved spacing; level-0 spacing while segmenting.
        n_regions: Kept regions.
        n_patches: Patches that count: with tissue when tiled, embedded when embedded.
        tissue_mm2: Tissue area.
        tissue_dropped_mm2: Tissue area outside the kept regions.
        pen_mm2: Area rejected as pen marks.
    """

    slide_id: str
    path: str
    stage: str
    status: Status
    reason: str = ""
    seconds: float = 0.0
    spacing_um: float | None = None
    n_regions: int | None = None
    n_patches: int | None = None
    tissue_mm2: float | None = None
    tissue_dropped_mm2: float | None = None
    pen_mm2: float | None = None


class StatusLog:
    """The log of one process; appends rows and writes the merged table.

    Args:
        work: The work folder.
        shard: Names this process among several that share the folder.
    """

    def __init__(self, work: Path, shard: str = "main") -> None:
        host = re.sub(r"[^A-Za-z0-9.-]", "_", platform.node() or "host")
        self.work = work
        self.path = work / "status" / f"{shard}-{host}-{os.getpid()}.jsonl"

    def append(
        self, row: StatusRow, cause: str = "", receipt: dict[str, Any] | None = None
    ) -> None:
        """Adds one line, flushed to disk before it returns.

        Args:
            row: The slide's row.
            cause: The kind of a failure, by which a later run decides whether to try again.
            receipt: By what a later run sees that nothing has changed.

        Raises:
            StorageError: It cannot be written.
        """
        said = {"time": time.time(), **asdict(row), **({"cause": cause} if cause else {})}
        said |= {"receipt": receipt} if receipt is not None else {}
        append_line(self.path, said)

    @property
    def table(self) -> Path:
        """The merged view of every log of the work folder."""
        return self.work / "status.csv"

    def is_table_behind(self) -> bool:
        """Whether any process wrote to its log after the table was merged."""
        logs = status_logs(self.work)
        if not self.table.exists():
            return bool(logs)
        merged = self.table.stat().st_mtime_ns
        return any(log.stat().st_mtime_ns > merged for log in logs)

    def write_table(self) -> Path:
        """Merges every log of the work folder into `status.csv` and returns its path."""
        write_text(self.table, _csv_of(read_status(self.work)))
        return self.table


def read_status(work: Path) -> list[StatusRow]:
    """The latest row of each slide and stage, ordered by slide and stage.

    A last line that a killed process left unfinished is no line.
    """
    names = {field.name for field in fields(StatusRow)}
    latest: dict[tuple[str, str], tuple[float, dict[str, Any]]] = {}
    for log in status_logs(work):
        for moment, entry in logged(log.read_bytes()):
            key = str(entry["slide_id"]), str(entry["stage"])
            if key not in latest or moment >= latest[key][0]:
                latest[key] = (moment, {k: v for k, v in entry.items() if k in names})
    return [StatusRow(**latest[key][1]) for key in sorted(latest)]


def status_logs(work: Path) -> list[Path]:
    """The logs of every process that has worked in a folder."""
    return sorted((work / "status").glob("*.jsonl"))


def logged(content: bytes) -> Iterator[tuple[float, dict[str, Any]]]:
    """The entries of a log, or of a piece of one, with their times; no torn or altered line.

    A row's fields are there under their names, and `cause` where a slide failed.
    """
    for entry in lines_of(content):
        try:
            moment = float(entry["time"])
            entry["slide_id"], entry["path"], entry["stage"], entry["status"]
        except (ValueError, KeyError, TypeError):
            continue
        yield moment, entry


def _csv_of(rows: Iterable[StatusRow]) -> str:
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    columns = [field.name for field in fields(StatusRow)]
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_cell(getattr(row, column)) for column in columns])
    return table.getvalue()


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    return spreadsheet_safe(str(value))
