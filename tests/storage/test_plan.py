from __future__ import annotations

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
