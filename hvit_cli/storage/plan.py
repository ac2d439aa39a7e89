"""Which slides the runs on a work folder were asked for, so that those not begun are known too.

Each list of slides is one file, `status/plan/<stage>-<hash>.csv`, named after its content:
the thousand jobs of an array that share a list write one file, and none of them alters what
another wrote. Where two lists disagree on a slide, the one used last is right.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from hvit_cli.errors import StorageError
from hvit_cli.slides.entry import SlideEntry
from hvit_cli.slides.table import read_slide_ids
from hvit_cli.storage.tables import read_table, write_table

COLUMNS = ("slide_id", "path", "wanted")


@dataclass(frozen=True)
class Plan:
    """The slides of one stage, by the lists used last.

    Attributes:
        wanted: Slides to be done, with their files.
        excluded: Slides that a later run left out on purpose.
    """

    wanted: dict[str, str]
    excluded: frozenset[str]


def record_plan(work: Path, stage: str, entries: Iterable[SlideEntry]) -> None:
    """Writes down which slides a run was given; all of them, not its own part.

    A single slide is not written down: its line in the status log says as much, and a loop
    over a folder would leave a file for each.
    """
    rows = [(entry.slide_id, str(entry.path), "yes") for entry in entries]
    if len(rows) > 1:
        _record(work, stage, rows)


def record_exclusion(work: Path, stage: str, table: Path | None) -> None:
    """Writes down which slides a run leaves out; None for none.

    Raises:
        ManifestError: The table cannot be read.
    """
    if table is not None:
        _record(work, stage, [(slide_id, "", "no") for slide_id in sorted(read_slide_ids(table))])


def read_plan(work: Path, stage: str) -> Plan:
    """What the lists of a stage say together.

    Raises:
        StorageError: A list cannot be read.
    """
    wanted: dict[str, str] = {}
    excluded: set[str] = set()
    for file in _by_last_use(_folder(work).glob(f"{stage}-*.csv")):
        columns, rows = read_table(file)
        if not set(COLUMNS) <= set(columns):
            raise StorageError(
                "this is no list of slides",
                where=file,
                found=", ".join(columns),
                wanted=", ".join(COLUMNS),
                hint="removing it; the next run writes its list again",
            )
        for row in rows:
            slide_id = row["slide_id"]
            if row["wanted"] == "yes":
                wanted[slide_id] = row["path"]
                excluded.discard(slide_id)
            else:
                excluded.add(slide_id)
    for slide_id in excluded:
        wanted.pop(slide_id, None)
    return Plan(wanted, frozenset(excluded))


def planned_stages(work: Path) -> set[str]:
    """The stages for which there is a list."""
    return {file.stem.rpartition("-")[0] for file in _folder(work).glob("*-*.csv")}


def _record(work: Path, stage: str, rows: list[tuple[str, str, str]]) -> None:
    content = "\n".join("\0".join(row) for row in rows)
    digest = hashlib.sha256(content.encode(errors="surrogateescape")).hexdigest()[:12]
    file = _folder(work) / f"{stage}-{digest}.csv"
    if file.exists():
        os.utime(file)
    else:
        write_table(file, COLUMNS, (dict(zip(COLUMNS, row, strict=True)) for row in rows))


def _folder(work: Path) -> Path:
    return work / "status" / "plan"


def _by_last_use(files: Iterable[Path]) -> list[Path]:
    return sorted(files, key=lambda file: (file.stat().st_mtime_ns, file.name))
