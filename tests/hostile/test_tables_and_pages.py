"""Every table goes through the one writer that makes no formula, and no page shows raw text."""

from __future__ import annotations

import ast
import csv
from pathlib import Path

import pytest

from hvit_cli.report.markup import element
from hvit_cli.storage.status import StatusLog, StatusRow
from hvit_cli.storage.tables import write_table

PACKAGE = Path(__file__).parents[2] / "hvit_cli"
FORMULAS = ("=1+1", "+cmd", "-cmd", "@SUM(A1)", "\t=1", '=HYPERLINK("http://x")', "'=1")
HOSTILE = "<script>alert(1)</script>\"'&"


def test_nothing_else_writes_csv() -> None:
    writers = {
        file.relative_to(PACKAGE).as_posix()
        for file in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Attribute)
        and ast.unparse(node) in ("csv.writer", "csv.DictWriter", "np.savetxt", "frame.to_csv")
    }
    assert writers == {"storage/tables.py", "storage/status.py"}


@pytest.mark.parametrize("text", FORMULAS)
def test_neither_writer_lets_a_cell_be_a_formula(text: str, tmp_path: Path) -> None:
    write_table(tmp_path / "a.csv", ("a", text), [{"a": text, text: text}])
    log = StatusLog(tmp_path)
    log.append(StatusRow(slide_id=text, path=text, stage="tile", status="failed", reason=text))
    for file in (tmp_path / "a.csv", log.write_table()):
        for row in csv.reader(file.read_text().splitlines()):
            assert not [cell for cell in row if cell.startswith(("=", "+", "-", "@", "\t"))]


def test_elements_of_reports_escape_text_and_attributes() -> None:
    made = element("a", {"href": HOSTILE}, HOSTILE).text
    assert "<script>" not in made
    assert made.count("&lt;script&gt;") == 2
    assert made.count('"') == 2
