"""Two slides at a time in one process: told in order, failing alone, ended together."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import pytest
from slide_jobs import misbehave

from hvit_cli.engine.attempt import Step
from hvit_cli.engine.execute import run_job
from hvit_cli.engine.job import SlideJob
from hvit_cli.engine.run import SlideRecord
from hvit_cli.settings.running import RunSettings
from hvit_cli.slides.entry import SlideEntry
from hvit_cli.steps.watch import Watch, unwatched
from hvit_cli.storage.status import StatusRow, read_status
from hvit_cli.storage.work import WorkFolder

SECONDS = {"long": 0.6, "short": 0.05}


@dataclass(frozen=True, kw_only=True)
class TwoAtOnce(SlideJob[str]):
    """Takes as long as a slide's name says, telling of it all the time."""

    stage: ClassVar[str] = "tile"

    running: list[str] = field(default_factory=list)
    met: list[int] = field(default_factory=list)

    @property
    def at_once(self) -> int:
        return 2

    def open(self) -> Step[str]:
        return self.open_watched(unwatched)

    def open_watched(self, watch: Watch) -> Step[str]:
        def step(entry: SlideEntry) -> tuple[StatusRow, str]:
            self.running.append(entry.slide_id)
            self.met.append(len(self.running))
            try:
                until = time.monotonic() + SECONDS[entry.slide_id.split("-")[-1]]
                while time.monotonic() < until:
                    watch(entry.slide_id, 0, 1)
                    time.sleep(0.01)
                misbehave(entry.slide_id, self.work.path)
            finally:
                self.running.remove(entry.slide_id)
            row = StatusRow(
                slide_id=entry.slide_id, path=str(entry.path), stage=self.stage, status="done"
            )
            return row, entry.slide_id

        return step


Run = Callable[..., list[SlideRecord[str]]]


def entries(*names: str) -> list[SlideEntry]:
    return [SlideEntry(slide_id=name, path=Path(f"{name}.svs")) for name in names]


def run(job: TwoAtOnce, *names: str, **running: object) -> list[SlideRecord[str]]:
    settings = RunSettings(**{"jobs": 1, **running})  # type: ignore[arg-type]
    return list(run_job(entries(*names), job, settings))


def test_two_slides_run_at_a_time_and_are_told_in_their_order(tmp_path: Path) -> None:
    job = TwoAtOnce(work=WorkFolder(tmp_path))
    names = ["a-long", "b-short", "c-short", "d-long", "e-short"]
    records = run(job, *names)
    assert [record.row.slide_id for record in records] == names
    assert [record.product for record in records] == names
    assert max(job.met) == 2
    assert not (tmp_path / "claims").exists()


def test_seconds_are_those_by_which_a_slide_made_the_run_longer(tmp_path: Path) -> None:
    started = time.perf_counter()
    records = run(TwoAtOnce(work=WorkFolder(tmp_path)), "a-long", "b-short", "c-long")
    took = time.perf_counter() - started
    first, hidden, last = (record.row.seconds for record in records)
    assert first >= 0.6
    assert hidden < 0.1
    assert last > 0.3
    assert first + hidden + last <= took + 0.01
    assert [row.seconds for row in read_status(tmp_path)] == [first, hidden, last]


def test_a_slide_that_fails_does_so_alone_with_its_own_traceback(tmp_path: Path) -> None:
    job = TwoAtOnce(work=WorkFolder(tmp_path))
    records = run(job, "bug-short", "a-long", "bad-short", "b-short", retries=0)
    assert [r.row.status for r in records] == ["failed", "done", "failed", "done"]
    assert "in misbehave" in WorkFolder(tmp_path).traceback("bug-short", "tile").read_text()
    assert records[2].row.reason == "bad-short.svs: a tile cannot be decoded"


def test_what_may_pass_is_tried_again(tmp_path: Path) -> None:
    records = run(TwoAtOnce(work=WorkFolder(tmp_path)), "once-short", "a-long", "b-short")
    assert {r.row.slide_id: r.row.status for r in records} == {
        "once-short": "done",
        "a-long": "done",
        "b-short": "done",
    }
    assert (tmp_path / "once-short-met").exists()


def test_a_run_that_is_given_up_ends_the_slides_at_hand(tmp_path: Path) -> None:
    job = TwoAtOnce(work=WorkFolder(tmp_path))
    records = run_job(entries("a-short", "b-long", "c-long"), job, RunSettings(jobs=1))
    next(records)
    started = time.perf_counter()
    records.close()  # type: ignore[attr-defined]
    assert time.perf_counter() - started < 0.5
    assert not job.running
    assert not [t for t in threading.enumerate() if t.name.startswith("hvit-slide")]
    assert [row.slide_id for row in read_status(tmp_path)] == ["a-short"]
    assert not (tmp_path / "claims").exists()


def test_a_single_slide_needs_no_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hvit_cli.engine.execute.Overlapping", None)
    (record,) = run(TwoAtOnce(work=WorkFolder(tmp_path)), "a-short")
    assert record.row.status == "done"
