"""CSV tables: identifiers stay text, and no cell becomes a formula in a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from hvit_cli.errors import StorageError
from hvit_cli.slides.cells import as_written, spreadsheet_safe
from hvit_cli.storage.atomic import write_text


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Writes rows as CSV, whole or not at all; None becomes an empty cell."""
    write_text(path, table_text(columns, rows))


def table_text(columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> str:
    """Rows as CSV; None becomes an empty cell."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow([spreadsheet_safe(column) for column in columns])
    for row in rows:
        values = (row.get(column) for column in columns)
        writer.writerow(["" if v is None else spreadsheet_safe(str(v)) for v in values])
    return table.getvalue()


def read_table(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Reads a CSV with headings; every value is text, a byte-order mark is ignored.

    Comma, semicolon and tab are told apart by the heading line.

    Raises:
        StorageError: The file is missing, not text, empty, or a row has too many cells.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise StorageError("the table cannot be read", where=path, found=reason) from error
    heading = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=heading.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        lines = [(reader.line_num, cells) for cells in reader if any(c.strip() for c in cells)]
    except csv.Error as error:
        raise StorageError("the table cannot be read", where=path, found=error) from error
    if not lines:
        raise StorageError("the table is empty", where=path)
    columns = [as_written(cell.strip()) for cell in lines[0][1]]
    rows = []
    for number, cells in lines[1:]:
        if len(cells) > len(columns):
            raise StorageError(
                "a row has more cells than there are headings",
                where=f"{path}, line {number}",
                found=len(cells),
                wanted=len(columns),
            )
        padded = [as_written(cell.strip()) for cell in cells] + [""] * (len(columns) - len(cells))
        rows.append(dict(zip(columns, padded, strict=True)))
    return columns, rows
