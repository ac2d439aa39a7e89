"""How far a slide is reaches whoever asked, from this process and from others."""

from __future__ import annotations

from pathlib import Path

import pytest
from slide_jobs import ToldJob

from hvit_cli.engine import worker
from hvit_cli.engine.execute import run_job
from hvit_cli.settings.running import RunSettings
from hvit_cli.slides.entry import SlideEntry
from hvit_cli.storage.work import WorkFolder

ENTRIES = [SlideEntry(slide_id=name, path=Path(f"{name}.svs")) for name in ("a", "b")]


def told(work: Path, **running: object) -> list[tuple[str, int, int]]:
    heard: list[tuple[str, int, int]] = []
    records = run_job(
        ENTRIES,
        ToldJob(work=WorkFolder(work)),
        RunSettings(**running),  # type: ignore[arg-type]
        watch=lambda *told: heard.append(told),
    )
    assert [record.row.status for record in records] == ["done", "done"]
    return heard


def test_this_process_tells_of_every_step(tmp_path: Path) -> None:
    heard = told(tmp_path, jobs=1)
    assert heard == [(name, done, 4) for name in ("a", "b") for done in range(5)]


def test_other_processes_tell_now_and_then(tmp_path: Path) -> None:
    heard = told(tmp_path, jobs=1, timeout=60)
    # A slide takes 0.8 s here, and its process speaks every half second.
    assert {slide_id for slide_id, _, _ in heard} == {"a", "b"}
    assert len(heard) <= 4
    assert all(0 <= done <= total == 4 for _, done, total in heard)


def test_a_process_that_nobody_watches_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_TELL_EVERY_S", 0.0)
    records = list(
        run_job(ENTRIES, ToldJob(work=WorkFolder(tmp_path)), RunSettings(jobs=1, timeout=60))
    )
    assert [record.row.status for record in records] == ["done", "done"]


def test_a_slide_that_tells_all_the_time_is_still_given_up_in_time(tmp_path: Path) -> None:
    job = ToldJob(work=WorkFolder(tmp_path), steps=10_000)
    (record,) = run_job(
        ENTRIES[:1], job, RunSettings(jobs=1, timeout=1.5, retries=0), watch=lambda *_: None
    )
    assert record.row.reason.startswith("timeout")
