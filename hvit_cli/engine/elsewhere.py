"""What other processes have finished in the same folder since this one began."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hvit_cli.engine.attempt import PASSING
from hvit_cli.storage.status import StatusRow, logged, status_logs

# Logs that were silent for so long when the run began belong to processes that ended.
_SILENT_S = 24 * 3600.0


@dataclass(frozen=True, kw_only=True)
class EndedElsewhere:
    """How another process ended a slide.

    Attributes:
        row: Its line, with the process in its reason.
        may_pass: Whether it failed for a cause that another try may not meet.
        failures: How many such tries there were.
    """

    row: StatusRow
    may_pass: bool
    failures: int


@dataclass
class _Log:
    read: int
    is_followed: bool


class Elsewhere:
    """Reads what other processes append to their status logs, from the present end on.

    A process writes a slide's line before it gives up its claim; whoever gets the claim
    afterwards finds the line here.

    Args:
        work: The work folder.
        stage: The stage that counts.
        own: This process's log.
    """

    def __init__(self, work: Path, stage: str, own: Path) -> None:
        self.work = work
        self.stage = stage
        self.own = own
        now = time.time()
        self._logs: dict[Path, _Log] = {}
        for path in status_logs(work):
            state = path.stat()
            self._logs[path] = _Log(state.st_size, now - state.st_mtime < _SILENT_S)
        self._ended: dict[str, EndedElsewhere] = {}

    def ended(self, slide_id: str) -> EndedElsewhere | None:
        """How other processes ended a slide since; None where they did not try."""
        self._look()
        return self._ended.get(slide_id)

    def _look(self) -> None:
        for path in status_logs(self.work):
            log = self._logs.setdefault(path, _Log(0, True))
            if path == self.own or not log.is_followed:
                continue
            with path.open("rb") as file:
                file.seek(log.read)
                content = file.read()
            whole = content[: content.rfind(b"\n") + 1]
            log.read += len(whole)
            for _, entry in logged(whole):
                if entry["stage"] == self.stage:
                    slide_id = str(entry["slide_id"])
                    before = self._ended.get(slide_id)
                    passing = entry.get("cause") in PASSING
                    self._ended[slide_id] = EndedElsewhere(
                        row=_row_of(entry, path),
                        may_pass=passing,
                        failures=(before.failures if before else 0) + passing,
                    )


def _row_of(entry: dict[str, Any], log: Path) -> StatusRow:
    names = {field.name for field in dataclasses.fields(StatusRow)}
    row = StatusRow(**{name: value for name, value in entry.items() if name in names})
    _, _, process = log.stem.partition("-")
    host, _, process_id = process.rpartition("-")
    told = f"by {host}:{process_id}" + (f": {row.reason}" if row.reason else "")
    return dataclasses.replace(row, reason=told)
