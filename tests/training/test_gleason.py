from __future__ import annotations

import csv
from pathlib import Path

import pytest

from hvit_cli.training.gleason import isup_of_text


@pytest.mark.parametrize(
    ("text", "isup"),
    [
        ("negative", 0),
        ("Negative ", 0),
        ("0+0", 0),
        ("0 + 0", 0),
        ("3+3", 1),
        ("3+4", 2),
        (" 4 + 3 ", 3),
        ("4+4", 4),
        ("3+5", 4),
        ("5+3", 4),
        ("4+5", 5),
        ("5+4", 5),
        ("5+5", 5),
    ],
)
def test_written_scores(text: str, isup: int) -> None:
    assert isup_of_text(text) == isup


@pytest.mark.parametrize(
    "text",
    [
        "",
        "7",
        "3",
        "3+",
        "+4",
        "2+3",
        "3+2",
        "6+1",
        "0+3",
        "3+4=7",
        "3-4",
        "benign",
        "٣+٤",
        "3+4+5",
    ],
)
def test_everything_else_is_no_score(text: str) -> None:
    assert isup_of_text(text) is None


def test_panda_agrees_but_for_its_one_inconsistent_row(data: Path) -> None:
    with (data / "panda/train_5fold.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 10616
    wrong = [r for r in rows if isup_of_text(r["gleason_score"]) != int(r["isup_grade"])]
    assert [(r["image_id"], r["gleason_score"], r["isup_grade"]) for r in wrong] == [
        ("b0a92a74cb53899311acc30b7405e101", "4+3", "2")
    ]
