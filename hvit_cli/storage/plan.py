"""Which slides the runs on a work folder were asked for, so that those not begun are known too.

Each list of slides is one file, `status/plan/<stage>-<hash>.csv`, named after its content:
the thousand jobs of an array that share a list write one file, and none of them alters what
another wrote. Where two lists disagree on a slide, the one used last is right.

A list that does not hold what its name says was damaged: it is named and left out, and the next
run that is given its slides makes it again.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hvit_cli.errors import StorageError
from hvit_cli.slides.entry import SlideEntry
from hvit_cli.slides.table import read_slide_ids
from hvit_cli.storage.atomic import write_text
from hvit_cli.storage.tables import read_table, table_text

COLUMNS = ("slide_id", "path", "wanted")

_LOG = logging.getLogger(__name__)


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
    """What the lists of a stage say together; a damaged one is named in a warning, and left out."""
    wanted: dict[str, str] = {}
    excluded: set[str] = set()
    for file in _by_last_use(_folder(work).glob(f"{stage}-*.csv")):
        for slide_id, path, is_wanted in _rows_of(file):
            if is_wanted == "yes":
                wanted[slide_id] = path
                excluded.discard(slide_id)
            else:
                excluded.add(slide_id)
    for slide_id in excluded:
        wanted.pop(slide_id, None)
    return Plan(wanted, frozenset(excluded))


def planned_stages(work: Path) -> set[str]:
    """The stages for which there is a list."""
    return {file.stem.rpartition("-")[0] for file in _folder(work).glob("*-*.csv")}


def _rows_of(file: Path) -> list[tuple[str, ...]]:
    """The rows of a list; none where it is not what was written."""
    try:
        _, cells = read_table(file)
        rows = [tuple(row.get(column, "") for column in COLUMNS) for row in cells]
        if _digest(rows) == file.stem.rpartition("-")[2]:
            return rows
        reason = "it is not what was written (checksum)"
    except StorageError as error:
        reason = error.what
    _LOG.warning(
        "%s is left out, because %s; the same command again on the same slides makes it again",
        file,
        reason,
    )
    return []


def _record(work: Path, stage: str, rows: Sequence[tuple[str, ...]]) -> None:
    file = _folder(work) / f"{stage}-{_digest(rows)}.csv"
    text = table_text(COLUMNS, (dict(zip(COLUMNS, row, strict=True)) for row in rows))
    try:
        if file.read_bytes() == text.encode():
            os.utime(file)
            return
        _LOG.warning("%s made again, because it is not what was written", file)
    except FileNotFoundError:
        pass
    except OSError as error:
        # Somebody else's, in a folder that is shared: it is replaced by one of ours.
        _LOG.info("%s made again, because it is another user's (%s)", file, error.strerror)
    write_text(file, text)


def _digest(rows: Sequence[tuple[str, ...]]) -> str:
    # As they are read again: without spaces around.
    content = "\n".join("\0".join(cell.strip() for cell in row) for row in rows)
    return hashlib.sha256(content.encode(errors="surrogateescape")).hexdigest()[:12]


def _folder(work: Path) -> Path:
    return work / "status" / "plan"


def _by_last_use(files: Iterable[Path]) -> list[Path]:
    return sorted(files, key=lambda file: (file.stat().st_mtime_ns, file.name))
