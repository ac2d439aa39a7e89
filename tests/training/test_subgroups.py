from __future__ import annotations

import pytest

from hvit_cli.errors import LabelError
from hvit_cli.training.subgroups import scanner_of, values_of

ROWS = {"a": {"site": "x", "spacing_um": "0.4862"}, "b": {"site": "", "spacing_um": "0.25"}}


def test_a_column_of_the_first_table_that_has_it() -> None:
    tables = [("labels.csv", {"a": {"site": "y"}}), ("predictions.csv", ROWS)]
    assert values_of("site", tables) == {"a": "y"}
    assert values_of("site", tables[1:]) == {"a": "x"}


@pytest.mark.parametrize(
    ("spacing", "scanner"),
    [
        ("0.48601", "0.486 µm (as PANDA's 3DHISTECH)"),
        ("0.5032", "0.503 µm (as PANDA's Leica)"),
        ("0.4523", "0.452 µm (as PANDA's Hamamatsu)"),
        ("0.5", "0.500 µm"),
        ("0.25", "0.250 µm"),
    ],
)
def test_scanners_by_spacing(spacing: str, scanner: str) -> None:
    assert scanner_of(spacing) == scanner


def test_the_scanner_is_told_by_the_spacing_unless_a_column_says_it() -> None:
    assert values_of("scanner", [("p", ROWS)]) == {
        "a": "0.486 µm (as PANDA's 3DHISTECH)",
        "b": "0.250 µm",
    }
    named = {"a": {"scanner": "Leica", "spacing_um": "0.4862"}}
    assert values_of("scanner", [("p", named)]) == {"a": "Leica"}


def test_what_cannot_be_told() -> None:
    with pytest.raises(LabelError, match=r"labels.csv: no table has such a column; found site"):
        values_of("hospital", [("labels.csv", {"a": {"site": "x"}})])
    with pytest.raises(LabelError, match="scanner or spacing_um_level0"):
        values_of("scanner", [("labels.csv", {"a": {"site": "x"}})])
    with pytest.raises(LabelError, match="not a number"):
        scanner_of("40x")
