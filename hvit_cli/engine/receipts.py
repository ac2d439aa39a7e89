"""What a run leaves behind for the next one, so that it need not open what did not change.

A slide is done when its files open and hold what their recipe says; finding that out for a
hundred thousand slides takes hours. The line of a slide in the status log therefore carries a
receipt: a hash of everything that was asked, and size and modification time of the slide and
of every file that was made or checked. Where both are what they were, and the settings too,
the files are taken for done unopened. Whoever reads them still checks their checksums, and
`--verify` opens everything. A change that keeps size and time (a disk that decays) is found
then and only then.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from itertools import repeat
from pathlib import Path
from typing import Any, TypeGuard

from hvit_cli.engine.job import SlideJob
from hvit_cli.slides.entry import SlideEntry
from hvit_cli.storage.status import StatusRow, logged, status_logs

Receipt = dict[str, Any]
"""`asked`: hash of settings and slide; `files`: path to [bytes, modification time in ns]; `own`:
the same for files of the work folder, by their paths within it, so that a copy of the folder is
told by its own files."""

# Servers of files answer several questions at a time.
_AT_ONCE = 16
_SLIDES_PER_TURN = 256


@dataclass(frozen=True, slots=True)
class Told:
    """The latest line of a slide that carries a receipt.

    Attributes:
        row: The line.
        receipt: What must still be so.
    """

    row: StatusRow
    receipt: Receipt


def receipt_of(entry: SlideEntry, job: SlideJob[Any], product: Any) -> Receipt | None:
    """What must stay as it is for a slide to stay done; None where the job cannot say.

    Args:
        entry: The slide.
        job: What was done.
        product: What came of it.
    """
    asked, made = job.asked(), job.made(entry, product)
    if asked is None or not made:
        return None
    work = job.work.path
    own = [path for path in made if path.is_relative_to(work)]
    others = [path for path in made if not path.is_relative_to(work)]
    return {
        "asked": _hash(asked, entry),
        "files": file_states([entry.path, *others]),
        "own": _own_states(work, [str(path.relative_to(work)) for path in own]),
    }


def unchanged(entries: Sequence[SlideEntry], job: SlideJob[Any]) -> dict[str, StatusRow]:
    """The rows of slides that are done and whose files are as they were, by slide_id."""
    asked = job.asked()
    if asked is None:
        return {}
    told = _told(job.work.path, job.stage)
    candidates = [
        (entry, told[entry.slide_id])
        for entry in entries
        if entry.slide_id in told and told[entry.slide_id].receipt["asked"] == _hash(asked, entry)
    ]
    turns = [
        candidates[first : first + _SLIDES_PER_TURN]
        for first in range(0, len(candidates), _SLIDES_PER_TURN)
    ]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        still = pool.map(_still_so, repeat(job.work.path), turns)
        return {row.slide_id: row for rows in still for row in rows}


def _still_so(work: Path, turn: Iterable[tuple[SlideEntry, Told]]) -> list[StatusRow]:
    return [
        told.row
        for _, told in turn
        if file_states(told.receipt["files"]) == told.receipt["files"]
        and _own_states(work, told.receipt["own"]) == told.receipt["own"]
    ]


def _own_states(work: Path, names: Iterable[str]) -> dict[str, list[int] | None]:
    start = f"{work}{os.sep}"
    states = file_states(start + name for name in names)
    return {path[len(start) :]: state for path, state in states.items()}


def _told(work: Path, stage: str) -> dict[str, Told]:
    """The latest line of each slide, where it is no failure and has a receipt."""
    names = {field.name for field in fields(StatusRow)}
    latest: dict[str, float] = {}
    told: dict[str, Told] = {}
    for log in status_logs(work):
        for moment, line in logged(log.read_bytes()):
            slide_id = str(line["slide_id"])
            if line["stage"] != stage or moment < latest.get(slide_id, 0.0):
                continue
            latest[slide_id] = moment
            told.pop(slide_id, None)
            receipt = line.get("receipt")
            if line["status"] != "failed" and _is_receipt(receipt):
                row = StatusRow(**{name: line[name] for name in names & line.keys()})
                told[slide_id] = Told(row, receipt)
    return told


def _is_receipt(value: object) -> TypeGuard[Receipt]:
    return (
        isinstance(value, dict)
        and isinstance(value.get("files"), dict)
        and isinstance(value.get("own"), dict)
        and "asked" in value
    )


def _hash(asked: dict[str, Any], entry: SlideEntry) -> str:
    said = [asked, str(entry.path), entry.spacing_um, str(entry.mask_path or "")]
    text = json.dumps(said, sort_keys=True, default=str)
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:24]


def weight_files(path: Path) -> list[Path]:
    """The file of an encoder, or those in its folder."""
    return sorted(path.iterdir()) if path.is_dir() else [path]


def file_states(paths: Iterable[Path | str]) -> dict[str, list[int] | None]:
    """Bytes and modification time of each file, of a folder with its files together."""
    found: dict[str, list[int] | None] = {}
    for path in paths:
        try:
            state = os.stat(path)  # noqa: PTH116 - half a million of them: paths stay text
            is_folder = (state.st_mode & 0o170000) == 0o040000
            found[str(path)] = (
                _folder_state(Path(path)) if is_folder else [state.st_size, state.st_mtime_ns]
            )
        except OSError:
            found[str(path)] = None
    return found


def _folder_state(folder: Path) -> list[int]:
    states = [file.stat() for file in sorted(folder.iterdir())]
    return [sum(s.st_size for s in states), max((s.st_mtime_ns for s in states), default=0)]
