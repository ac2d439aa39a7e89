"""A slide whose files were not touched is not opened again; whatever was touched is."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from hvit_cli.engine.attempt import Step
from hvit_cli.engine.execute import UNCHANGED, run_job
from hvit_cli.engine.job import SlideJob
from hvit_cli.settings.running import RunSettings
from hvit_cli.slides.entry import SlideEntry
from hvit_cli.storage.plan import read_plan
from hvit_cli.storage.status import StatusRow
from hvit_cli.storage.work import WorkFolder

HERE = RunSettings(jobs=1)
worked: list[str] = []


@dataclass(frozen=True, kw_only=True)
class CopyJob(SlideJob[str]):
    stage: ClassVar[str] = "tile"

    setting: int = 1
    fails: str = ""

    def open(self) -> Step[str]:
        def step(entry: SlideEntry) -> tuple[StatusRow, str]:
            worked.append(entry.slide_id)
            if entry.slide_id == self.fails:
                raise ZeroDivisionError
            out = self.work.tiles(entry.slide_id)
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text(entry.path.read_text())
            row = StatusRow(
                slide_id=entry.slide_id, path=str(entry.path), stage="tile", status="done"
            )
            return row, "product"

        return step

    def asked(self) -> dict[str, Any]:
        return {"setting": self.setting}

    def made(self, entry: SlideEntry, product: str) -> tuple[Path, ...]:
        return (self.work.tiles(entry.slide_id), self.work.mask(entry.slide_id))


@pytest.fixture
def entries(tmp_path: Path) -> list[SlideEntry]:
    worked.clear()
    found = []
    for name in ("a", "b", "c"):
        path = tmp_path / f"{name}.svs"
        path.write_text(name)
        found.append(SlideEntry(slide_id=name, path=path))
    return found


def run(
    entries: list[SlideEntry], tmp_path: Path, running: RunSettings = HERE, **job: Any
) -> list[str]:
    """Runs the job and returns the slides that were worked on."""
    worked.clear()
    records = list(run_job(entries, CopyJob(work=WorkFolder(tmp_path / "out"), **job), running))
    assert [r.number for r in records] == list(range(1, len(entries) + 1))
    for record in records:
        if record.row.slide_id not in worked:
            assert (record.row.status, record.row.reason) == ("done", UNCHANGED)
    return sorted(worked)


@pytest.mark.parametrize("left", ["none", "an older one"])
def test_a_run_with_nothing_to_do_writes_the_table_that_a_killed_one_did_not(
    left: str, entries: list[SlideEntry], tmp_path: Path
) -> None:
    run(entries, tmp_path)
    (log,) = (tmp_path / "out" / "status").glob("*.jsonl")
    log.rename(log.with_name("main-host-1.jsonl"))  # as of another process
    table = tmp_path / "out" / "status.csv"
    whole = table.read_text()
    if left == "none":
        table.unlink()
    else:
        table.write_text("slide_id\n")
        os.utime(table, (1, 1))
    assert run(entries, tmp_path) == []
    assert table.read_text() == whole
    merged = table.stat().st_mtime_ns
    assert run(entries, tmp_path) == []
    assert table.stat().st_mtime_ns == merged
    assert not (tmp_path / "out" / "claims").exists()


def test_what_was_not_touched_is_not_opened(entries: list[SlideEntry], tmp_path: Path) -> None:
    assert run(entries, tmp_path) == ["a", "b", "c"]
    assert run(entries, tmp_path) == []
    # Nor does the log grow: its lines still hold.
    (log,) = (tmp_path / "out" / "status").glob("*.jsonl")
    assert log.read_text().count("\n") == 3
    assert run(entries, tmp_path, RunSettings(jobs=1, verify=True)) == ["a", "b", "c"]


@pytest.mark.parametrize(
    "touch",
    [
        lambda tmp: (tmp / "a.svs").write_text("A"),
        lambda tmp: (tmp / "out" / "tiles" / "a.h5").write_text("A"),
        lambda tmp: (tmp / "out" / "tiles" / "a.h5").unlink(),
        lambda tmp: os.utime(tmp / "out" / "tiles" / "a.h5"),
        # A file that was not there when the slide was done.
        lambda tmp: ((tmp / "out" / "masks").mkdir(), (tmp / "out" / "masks" / "a.tiff").touch()),
    ],
    ids=["slide", "content", "gone", "time", "new"],
)
def test_whatever_was_touched_is_opened(
    entries: list[SlideEntry], tmp_path: Path, touch: Any
) -> None:
    run(entries, tmp_path)
    touch(tmp_path)
    assert run(entries, tmp_path) == ["a"]
    assert run(entries, tmp_path) == []


def test_other_settings_and_another_spacing_trust_nothing(
    entries: list[SlideEntry], tmp_path: Path
) -> None:
    run(entries, tmp_path)
    assert run(entries, tmp_path, setting=2) == ["a", "b", "c"]
    other = SlideEntry(slide_id="b", path=entries[1].path, spacing_um=0.25, is_bare=False)
    assert run([entries[0], other, entries[2]], tmp_path, setting=2) == ["b"]


def test_a_failure_is_never_trusted(entries: list[SlideEntry], tmp_path: Path) -> None:
    run(entries, tmp_path)
    os.utime(entries[1].path)
    again = RunSettings(jobs=1, retries=3)
    assert run(entries, tmp_path, again, fails="b") == ["b"]
    assert run(entries, tmp_path, again) == ["b"]
    assert run(entries, tmp_path, again) == []


def test_a_run_says_which_slides_it_was_given_also_those_of_other_parts(
    entries: list[SlideEntry], tmp_path: Path
) -> None:
    run_part = RunSettings(jobs=1, shard="1/3")
    worked.clear()
    list(run_job(entries, CopyJob(work=WorkFolder(tmp_path / "out")), run_part))
    assert len(worked) < 3
    assert set(read_plan(tmp_path / "out", "tile").wanted) == {"a", "b", "c"}
