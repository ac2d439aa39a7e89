from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import pytest

from hvit_cli.report.blind import key_row, plan_sheets

IDS = [f"slide_{k}" for k in range(41)]


def test_a_seed_decides_the_sheets_and_the_order_of_slides_does_not() -> None:
    once = plan_sheets(IDS, "pair", 7)
    assert plan_sheets(IDS[::-1], "pair", 7) == once
    assert plan_sheets(IDS, "pair", 8) != once


def test_every_slide_has_one_pair_and_half_of_them_lie_either_way() -> None:
    sheets = plan_sheets(IDS, "pair", 0)
    assert sorted(sheet.slide_id for sheet in sheets) == sorted(IDS)
    assert all(sorted(sheet.kinds) == ["masked", "plain"] for sheet in sheets)
    first = Counter(sheet.kinds[0] for sheet in sheets)
    assert abs(first["masked"] - first["plain"]) == 1  # 41 slides
    assert [s.slide_id for s in sheets] != IDS


def test_places_and_numbers_vary_with_the_seed_evenly() -> None:
    # Over many seeds a slide's masked map lies at A in half of them, and its sheet anywhere.
    seeds = 400
    plans = [plan_sheets(IDS[:6], "pair", seed) for seed in range(seeds)]
    at_a = sum(s.kinds[0] == "masked" for p in plans for s in p if s.slide_id == "slide_0")
    # Four standard deviations of a fair coin.
    assert abs(at_a - seeds / 2) < 4 * (seeds / 4) ** 0.5
    numbers = Counter(p.index(s) for p in plans for s in p if s.slide_id == "slide_0")
    assert set(numbers) == set(range(6))


def test_alone_each_map_has_a_sheet_of_its_own() -> None:
    sheets = plan_sheets(IDS, "single", 3)
    shown = [(sheet.slide_id, sheet.kinds) for sheet in sheets]
    assert len(set(shown)) == 82
    assert Counter(kinds for _, kinds in shown) == {("masked",): 41, ("plain",): 41}


@pytest.mark.parametrize("layout", ["pair", "single"])
def test_names_tell_nothing_but_the_number(layout: str) -> None:
    sheets = plan_sheets(IDS, layout, 5)  # type: ignore[arg-type]
    assert [sheet.file for sheet in sheets] == [
        f"sheet-{number:03d}.png" for number in range(1, len(sheets) + 1)
    ]


def test_the_key_says_what_lies_where_and_finds_the_sheet_by_its_hash(tmp_path: Path) -> None:
    (sheet,) = plan_sheets(["=cmd"], "pair", 1)
    path = tmp_path / sheet.file
    path.write_bytes(b"pixels")
    row = key_row(sheet, path, model="toy", shown=("attention", "region", "relative"), seed=1)
    assert (row["A"], row["B"]) == sheet.kinds
    assert row["sha256"] == hashlib.sha256(b"pixels").hexdigest()
    assert row["slide_id"] == "=cmd" and row["seed"] == 1
