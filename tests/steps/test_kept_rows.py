from __future__ import annotations

import math
from pathlib import Path

import pytest

from hvit_cli.steps.kept_rows import keep_rows, kept_rows, rows_file

RECIPE = {"sizes": (1, 2), "slide": "é 😀", "of": {1: None}}
ROWS = [{"a": 1, "b": 0.1, "c": "x"}, {"a": 2, "b": None, "c": ""}]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = rows_file(tmp_path, "s1")
    keep_rows(path, "kind", RECIPE, ROWS)
    return path


def test_rows_of_the_same_recipe_are_found(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert kept_rows(file, "kind", RECIPE) == ROWS
    assert kept_rows(file, "another kind", RECIPE) is None
    assert kept_rows(file, "kind", RECIPE | {"sizes": (1, 3)}) is None
    assert kept_rows(file.with_name("s2.json"), "kind", RECIPE) is None
    assert not caplog.records


def test_numbers_that_json_does_not_know_are_kept(file: Path) -> None:
    keep_rows(file, "kind", RECIPE, [{"a": math.nan, "b": math.inf}])
    (row,) = kept_rows(file, "kind", RECIPE) or ()
    assert math.isnan(row["a"])
    assert row["b"] == math.inf


def test_the_order_of_a_recipe_changes_no_byte(file: Path) -> None:
    before = file.read_bytes()
    keep_rows(file, "kind", dict(reversed(RECIPE.items())), ROWS)
    assert file.read_bytes() == before


def test_a_bit_that_is_flipped_anywhere_is_found_and_named(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    content = file.read_bytes()
    for place in range(len(content)):
        altered = bytearray(content)
        altered[place] ^= 1 << place % 8
        file.write_bytes(altered)
        caplog.clear()
        found = kept_rows(file, "kind", RECIPE)
        # What is read in spite of it is what was written: an escape in other letters.
        assert found == ROWS or (found is None and f"{file} is made again" in caplog.text)


def test_a_file_that_was_cut_off_is_no_file(file: Path) -> None:
    content = file.read_bytes()
    for length in range(len(content) - 1):
        file.write_bytes(content[:length])
        assert kept_rows(file, "kind", RECIPE) is None


def test_rows_without_a_checksum_are_made_again(file: Path) -> None:
    file.write_text('{"kind": "kind", "recipe": {}, "rows": []}')
    assert kept_rows(file, "kind", {}) is None
