"""Checksums of the rows of a table that people may open, sort and save again.

The table itself stays plain CSV; the checksums lie in the work folder, one for each row by its
key. A row that was altered is kept, for it may be somebody's correction, and is told of until it
is made again; one whose key was never written is none of the table's.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hvit_cli.storage.atomic import write_text

Key = tuple[str, ...]
Row = Mapping[str, object]


@dataclass(frozen=True)
class RowChecksums:
    """The checksums of one table.

    Attributes:
        work: The work folder.
        table: The table, wherever it lies.
    """

    work: Path
    table: Path

    @property
    def path(self) -> Path:
        """Where they lie."""
        work, table = self.work.absolute(), self.table.absolute()
        # A copy of the work folder brings the checksums of its own tables along.
        place = table.relative_to(work) if table.is_relative_to(work) else table
        name = hashlib.sha256(os.fsencode(place)).hexdigest()[:12]
        return self.work / "status" / "tables" / f"{name}.json"

    def read(self) -> dict[Key, str]:
        """The checksum of each row that was written; empty where none were, or they are damaged."""
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
            return {tuple(key): str(checksum) for key, checksum in found}
        except (OSError, ValueError, TypeError, RecursionError):
            return {}

    def write(self, rows: Mapping[Key, Row], altered: Mapping[Key, str]) -> None:
        """Notes the rows of the table; those that were altered keep the checksum they had."""
        noted = [[list(key), altered.get(key, checksum(row))] for key, row in sorted(rows.items())]
        write_text(self.path, json.dumps(noted, ensure_ascii=False, separators=(",", ":")) + "\n")


def altered_rows(known: Mapping[Key, str], rows: Mapping[Key, Row]) -> dict[Key, str]:
    """The rows that are not what was written, with the checksums they had."""
    return {
        key: known[key] for key, row in rows.items() if key in known and known[key] != checksum(row)
    }


def checksum(row: Row) -> str:
    """A checksum over the cells of a row as a table holds them, whatever their order."""
    cells = sorted((name, "" if cell is None else str(cell).strip()) for name, cell in row.items())
    return hashlib.sha256(json.dumps(cells).encode()).hexdigest()[:16]
