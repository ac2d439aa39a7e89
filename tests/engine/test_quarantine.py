from __future__ import annotations

import os
from pathlib import Path

from slide_jobs import WritingJob

from hvit_cli.engine.execute import run_job
from hvit_cli.engine.run import SlideRecord
from hvit_cli.settings.running import RunSettings
from hvit_cli.slides.entry import SlideEntry
from hvit_cli.storage.status import StatusLog, StatusRow, logged, read_status, status_logs
from hvit_cli.storage.work import WorkFolder


def run(work: Path, *names: str, **running: object) -> dict[str, SlideRecord[str]]:
    entries = [SlideEntry(slide_id=name, path=work / f"{name}.svs") for name in names]
    settings = RunSettings(**{"jobs": 1, **running})  # type: ignore[arg-type]
    records = run_job(entries, WritingJob(work=WorkFolder(work)), settings)
    return {record.row.slide_id: record for record in records}


def tries(work: Path, slide_id: str) -> list[str]:
    logs = (logged(log.read_bytes()) for log in status_logs(work))
    return [entry["status"] for log in logs for _, entry in log if entry["slide_id"] == slide_id]


def test_what_may_pass_is_tried_again_in_the_same_run_and_told_once(tmp_path: Path) -> None:
    records = run(tmp_path, "once", "a")
    assert {name: r.row.status for name, r in records.items()} == {"once": "done", "a": "done"}
    assert tries(tmp_path, "once") == ["failed", "done"]
    assert [row.status for row in read_status(tmp_path)] == ["done", "done"]


def test_without_retries_it_is_not(tmp_path: Path) -> None:
    assert run(tmp_path, "once", "a", retries=0)["once"].row.status == "failed"
    assert tries(tmp_path, "once") == ["failed"]


def test_a_bad_slide_is_tried_once_in_a_run_and_left_alone_after_two(tmp_path: Path) -> None:
    first, second, third = (run(tmp_path, "bad", "a")["bad"].row for _ in range(3))
    assert first.reason == second.reason
    assert third.status == "failed"
    assert third.reason == (
        f"quarantined after 2 failed tries (--retry-failed tries again): {first.reason}"
    )
    assert tries(tmp_path, "bad") == ["failed", "failed"]
    # The table keeps why it failed, not that it was left alone.
    assert read_status(tmp_path)[1].reason == first.reason


def test_a_quarantined_slide_is_tried_again_when_asked_named_or_changed(tmp_path: Path) -> None:
    def count() -> int:
        return len(tries(tmp_path, "bad"))

    for _ in range(3):
        run(tmp_path, "bad", "a")
    assert count() == 2
    run(tmp_path, "bad", "a", retry_failed=True)
    assert count() == 3
    run(tmp_path, "bad")
    assert count() == 4
    run(tmp_path, "bad", "a")
    assert count() == 4
    slide = tmp_path / "bad.svs"
    slide.touch()
    later = slide.stat().st_mtime + 60
    os.utime(slide, (later, later))
    run(tmp_path, "bad", "a")
    assert count() == 5


def test_failures_that_are_not_the_slides_own_and_those_before_a_success_do_not_count(
    tmp_path: Path,
) -> None:
    log = StatusLog(tmp_path)
    row = {"slide_id": "a", "path": "a.svs", "stage": "tile"}
    for _ in range(5):
        log.append(StatusRow(**row, status="failed", reason="disk full"), "settings")  # type: ignore[arg-type]
    for _ in range(5):
        log.append(StatusRow(**row, status="failed", reason="torn"), "slide")  # type: ignore[arg-type]
    log.append(StatusRow(**row, status="done"))  # type: ignore[arg-type]
    for _ in range(5):
        log.append(StatusRow(**{**row, "stage": "embed"}, status="failed"), "slide")  # type: ignore[arg-type]
    assert run(tmp_path, "a", "b")["a"].row.status == "done"
