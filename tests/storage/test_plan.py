from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from hvit_cli.slides.entry import SlideEntry
from hvit_cli.storage.plan import (
    planned_stages,
    read_plan,
    record_exclusion,
    record_plan,
)


def entries(*names: str) -> list[SlideEntry]:
    return [SlideEntry(slide_id=name, path=Path(f"/s/{name}.svs")) for name in names]


@pytest.fixture
def leave_out(tmp_path: Path) -> Path:
    table = tmp_path / "exclude.csv"
    table.write_text("slide_id\nb\n")
    return table


def age(work: Path, seconds: float) -> None:
    """Makes every list that is there older."""
    for file in (work / "status" / "plan").iterdir():
        time = file.stat().st_mtime - seconds
        os.utime(file, (time, time))


def test_lists_of_several_runs_add_up(tmp_path: Path) -> None:
    record_plan(tmp_path, "tile", entries("a", "b"))
    record_plan(tmp_path, "tile", entries("b", "c"))
    record_plan(tmp_path, "embed", entries("x", "y"))
    assert read_plan(tmp_path, "tile").wanted == {n: f"/s/{n}.svs" for n in "abc"}
    assert planned_stages(tmp_path) == {"tile", "embed"}


def test_a_thousand_jobs_with_one_list_write_one_file(tmp_path: Path) -> None:
    for _ in range(5):
        record_plan(tmp_path, "tile", entries("a", "b"))
    assert len(list((tmp_path / "status" / "plan").iterdir())) == 1


def test_a_single_slide_leaves_no_list(tmp_path: Path) -> None:
    record_plan(tmp_path, "tile", entries("a"))
    assert planned_stages(tmp_path) == set()
    assert read_plan(tmp_path, "tile").wanted == {}


def test_the_list_used_last_decides_whether_a_slide_is_excluded(
    tmp_path: Path, leave_out: Path
) -> None:
    record_plan(tmp_path, "tile", entries("a", "b"))
    age(tmp_path, 20)
    record_exclusion(tmp_path, "tile", leave_out)
    plan = read_plan(tmp_path, "tile")
    assert (set(plan.wanted), set(plan.excluded)) == ({"a"}, {"b"})
    age(tmp_path, 10)
    record_plan(tmp_path, "tile", entries("a", "b"))
    plan = read_plan(tmp_path, "tile")
    assert (set(plan.wanted), set(plan.excluded)) == ({"a", "b"}, set())


def test_names_that_spreadsheets_would_run_come_back_as_they_were(tmp_path: Path) -> None:
    names = ("=1+1", "-x", "007", "a,b", "it's")
    record_plan(tmp_path, "tile", entries(*names))
    assert set(read_plan(tmp_path, "tile").wanted) == set(names)


@pytest.mark.parametrize("damage", ["flipped", "truncated", "zeroed", "no text", "empty"])
def test_a_damaged_list_is_named_left_out_and_made_again(
    damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    record_plan(tmp_path, "tile", entries("a", "b"))
    (file,) = (tmp_path / "status" / "plan").iterdir()
    whole = file.read_bytes()
    half = len(whole) // 2
    file.write_bytes(
        {
            "flipped": whole.replace(b"/s/b", b"/s/c"),
            "truncated": whole[:half],
            "zeroed": whole[:half] + bytes(len(whole) - half),
            "no text": b"\xff" + whole,
            "empty": b"",
        }[damage]
    )
    record_plan(tmp_path, "tile", entries("x", "y"))
    caplog.set_level(logging.WARNING, "hvit_cli")
    # Nothing half-written is trusted, and what other lists say is told all the same.
    assert set(read_plan(tmp_path, "tile").wanted) == {"x", "y"}
    assert f"{file} is left out, because " in caplog.text
    record_plan(tmp_path, "tile", entries("a", "b"))
    assert f"{file} made again" in caplog.text
    assert file.read_bytes() == whole
    assert set(read_plan(tmp_path, "tile").wanted) == {"a", "b", "x", "y"}


def test_every_flipped_bit_of_a_list_is_found_and_no_path_is_odd_enough_to_look_flipped(
    tmp_path: Path,
) -> None:
    odd = [
        SlideEntry(slide_id=name, path=Path(path))
        for name, path in (("=1", "/s/ b .svs "), ("'x", '/s/a\nb,".svs'), ("ä", "/s/\t="))
    ]
    record_plan(tmp_path, "tile", odd)
    assert set(read_plan(tmp_path, "tile").wanted) == {"=1", "'x", "ä"}
    (file,) = (tmp_path / "status" / "plan").iterdir()
    whole = file.read_bytes()
    for place in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[place // 8] ^= 1 << place % 8
        file.write_bytes(flipped)
        found = read_plan(tmp_path, "tile").wanted
        # A heading, a comma of which is another sign now, can still mean the same.
        assert found in ({}, read_wanted(odd)), place


def read_wanted(given: list[SlideEntry]) -> dict[str, str]:
    return {entry.slide_id: str(entry.path).strip() for entry in given}
