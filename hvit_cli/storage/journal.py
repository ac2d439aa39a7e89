"""Rows on their way into a common table: on disk at once, in the table when the run ends.

Every process appends to a file of its own, so that no row is lost with a process that is
killed, and none is overwritten by another. Whoever writes the table next takes the rows of
all processes along and removes their files; a file that is there is therefore newer than the
table.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Journal:
    """The rows that wait for one table.

    Attributes:
        work: The work folder.
        table: The table, wherever it lies.
    """

    work: Path
    table: Path

    @property
    def folder(self) -> Path:
        """Where the processes' files lie."""
        name = hashlib.sha256(os.fsencode(self.table.absolute())).hexdigest()[:12]
        return self.work / "status" / "waiting" / name

    def append(self, row: Mapping[str, object]) -> None:
        """Adds a row of plain values, flushed to disk before it returns."""
        host = re.sub(r"[^A-Za-z0-9.-]", "_", platform.node() or "host")
        self.folder.mkdir(parents=True, exist_ok=True)
        own = self.folder / f"{host}-{os.getpid()}.jsonl"
        with own.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def read(self) -> tuple[list[dict[str, Any]], list[Path]]:
        """The rows of all processes, those written last behind, and the files they are in."""
        files = sorted(self.folder.glob("*.jsonl"), key=lambda file: file.stat().st_mtime_ns)
        rows = []
        for file in files:
            # What follows the last line feed was cut off with its process.
            for line in file.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]:
                try:
                    row = json.loads(line)
                except ValueError:
                    continue  # the torn end of a killed process, behind which one went on
                rows.append(row)
        return rows, files

    def remove(self, files: list[Path]) -> None:
        """Removes files whose rows are in the table."""
        for file in files:
            file.unlink(missing_ok=True)
