from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvit_cli.errors import StorageError
from hvit_cli.storage.tables import read_table, spreadsheet_safe, write_table


@pytest.mark.parametrize("text", ["=1+1", "+cmd", "-cmd", "@SUM(A1)", "\tx"])
def test_a_formula_gets_an_apostrophe(text: str) -> None:
    assert spreadsheet_safe(text) == "'" + text


@pytest.mark.parametrize("text", ["-1.5", "+3", "slide-1", "", "a=b"])
def test_numbers_and_names_stay(text: str) -> None:
    assert spreadsheet_safe(text) == text


def test_identifiers_are_text_and_missing_values_are_empty(tmp_path: Path) -> None:
    write_table(tmp_path / "t.csv", ["slide_id", "score"], [{"slide_id": "007", "score": None}])
    assert read_table(tmp_path / "t.csv") == (
        ["slide_id", "score"],
        [{"slide_id": "007", "score": ""}],
    )


_TEXTS = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=20).map(str.strip)


@given(_TEXTS.filter(lambda text: not text.startswith("'")))
def test_any_identifier_survives_writing_and_reading(
    tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    path = tmp_path_factory.mktemp("tables") / "t.csv"
    write_table(path, ["slide_id", "end"], [{"slide_id": name, "end": "."}])
    assert read_table(path)[1] == [{"slide_id": name, "end": "."}]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_the_delimiter_and_a_byte_order_mark_are_understood(tmp_path: Path, delimiter: str) -> None:
    text = f"slide_id{delimiter}label\n001{delimiter}2\n\n"
    (tmp_path / "t.csv").write_text("﻿" + text, encoding="utf-8")
    assert read_table(tmp_path / "t.csv")[1] == [{"slide_id": "001", "label": "2"}]


def test_too_many_cells_are_named_with_their_line(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n1,2\n1,2,3\n")
    with pytest.raises(StorageError, match=r"t\.csv, line 3: .* found 3; wanted 2"):
        read_table(tmp_path / "t.csv")


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00\x01", b"\n\n"])
def test_what_is_no_table_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(StorageError, match=r"t\.csv"):
        read_table(tmp_path / "t.csv")
