"""Rows on their way into a common table: on disk at once, in the table when the run ends.

Every process appends to a file of its own, so that no row is lost with a process that is
killed, and none is overwritten by another. Whoever writes the table next takes the rows of
all processes along and removes their files; a file that is there is therefore newer than the
table.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hvit_cli.storage.lines import append_line, lines_of


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
        """Adds a row of plain values, flushed to disk before it returns.

        Raises:
            StorageError: It cannot be written.
        """
        host = re.sub(r"[^A-Za-z0-9.-]", "_", platform.node() or "host")
        append_line(self.folder / f"{host}-{os.getpid()}.jsonl", row)

    def read(self) -> tuple[list[dict[str, Any]], list[Path]]:
        """The rows of all processes, those written last behind, and the files they are in."""
        files = sorted(self.folder.glob("*.jsonl"), key=lambda file: file.stat().st_mtime_ns)
        return [row for file in files for row in lines_of(file.read_bytes())], files

    def remove(self, files: list[Path]) -> None:
        """Removes files whose rows are in the table."""
        for file in files:
            file.unlink(missing_ok=True)
