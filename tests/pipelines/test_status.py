from __future__ import annotations

import json
import os
import platform
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hvit_cli.cli.app import app
from hvit_cli.cli.status import duration
from hvit_cli.engine.claims import Claims, claim_path
from hvit_cli.errors import StorageError
from hvit_cli.pipelines.status import StatusReader, rate_per_hour
from hvit_cli.slides.entry import SlideEntry
from hvit_cli.storage.plan import record_exclusion, record_plan
from hvit_cli.storage.status import StatusLog, StatusRow

RUNNER = CliRunner()


def plan(work: Path, *names: str) -> None:
    record_plan(work, "tile", [SlideEntry(slide_id=n, path=Path(f"/s/{n}.svs")) for n in names])


def end(work: Path, name: str, status: str = "done", reason: str = "") -> None:
    StatusLog(work).append(
        StatusRow(
            slide_id=name,
            path=f"/s/{name}.svs",
            stage="tile",
            status=status,  # type: ignore[arg-type]
            reason=reason,
            seconds=2.0,
        )
    )


def test_every_planned_slide_is_done_failed_without_result_or_pending(tmp_path: Path) -> None:
    plan(tmp_path, "a", "b", "c", "d", "e")
    end(tmp_path, "a")
    end(tmp_path, "b", "failed", "/s/b.svs: cannot be opened")
    end(tmp_path, "c", "no_tissue")
    end(tmp_path, "b", "done")
    end(tmp_path, "c", "failed", "/s/c.svs: cannot be opened")
    (stage,) = StatusReader(tmp_path).stages()
    assert (stage.stage, stage.planned, stage.pending) == ("tile", 5, 2)
    assert (stage.done, stage.failed, stage.without_result) == (2, 1, {})


def test_failures_are_counted_by_reason_whatever_the_slide_is_called(tmp_path: Path) -> None:
    for name in ("a", "is", "z"):
        end(tmp_path, name, "failed", f"/s/{name}.svs: is no slide (trace in /w/{name}-tile.txt)")
    end(tmp_path, "t", "failed", "timeout: given up after 9 s")
    (stage,) = StatusReader(tmp_path).stages()
    assert [(kind.reason, kind.count, kind.slides) for kind in stage.failures] == [
        ("is no slide (trace in /w/…-tile.txt)", 3, ("a", "is", "z")),
        ("timeout: given up after 9 s", 1, ("t",)),
    ]


def test_excluded_slides_are_neither_pending_nor_failed(tmp_path: Path) -> None:
    table = tmp_path / "exclude.csv"
    table.write_text("slide_id\nb\nc\n")
    plan(tmp_path, "a", "b", "c")
    end(tmp_path, "a")
    end(tmp_path, "b", "failed", "pen")
    (stage,) = StatusReader(tmp_path, table).stages()
    assert (stage.planned, stage.failed, stage.pending, stage.excluded) == (1, 0, 0, 2)
    (stage,) = StatusReader(tmp_path).stages()
    assert (stage.planned, stage.failed, stage.pending, stage.excluded) == (3, 1, 1, 0)
    # A run that was given the list says so itself.
    time.sleep(0.01)
    record_exclusion(tmp_path, "tile", table)
    (stage,) = StatusReader(tmp_path).stages()
    assert (stage.planned, stage.failed, stage.pending, stage.excluded) == (1, 0, 0, 2)


def test_who_works_on_a_slide_is_said_and_whether_it_is_still_alive(tmp_path: Path) -> None:
    plan(tmp_path, "a", "b")
    folder = tmp_path / "claims" / "tile"
    claims = Claims(folder, ttl_s=300.0)
    try:
        assert claims.take("a")
        assert claims.take("b")
        long_ago = time.time() - 4000
        os.utime(claim_path(folder, "b"), (long_ago, long_ago))
        (stage,) = StatusReader(tmp_path).stages()
    finally:
        claims.close()
    me = f"{platform.node()}:{os.getpid()}"
    assert [(held.slide_id, held.holder, held.is_stale) for held in stage.held] == [
        ("a", me, False),
        ("b", me, True),
    ]
    assert stage.pending == 2


def test_a_second_look_reads_what_was_added(tmp_path: Path) -> None:
    plan(tmp_path, "a", "b")
    end(tmp_path, "a")
    reader = StatusReader(tmp_path)
    assert reader.stages()[0].done == 1
    end(tmp_path, "b")
    assert reader.stages()[0].done == 2


def test_the_rate_is_that_of_the_last_stretch_without_a_pause() -> None:
    # A slide a minute for ten minutes, yesterday thousands: 60 an hour.
    today = [(1e9 + 60 * n, 60.0) for n in range(1, 11)]
    yesterday = [(1e9 - 86400 + n, 1.0) for n in range(3000)]
    assert rate_per_hour(yesterday + today) == pytest.approx(60.0)
    # Two processes that take a minute each.
    assert rate_per_hour(today * 2) == pytest.approx(120.0)
    # One slide of two hours is a rate, too.
    assert rate_per_hour([(1e9, 7200.0)]) == pytest.approx(0.5)
    assert rate_per_hour([]) is None


def test_time_left_is_what_is_pending_at_that_rate(tmp_path: Path) -> None:
    plan(tmp_path, "a", "b", "c")
    end(tmp_path, "a")  # took 2 s
    (stage,) = StatusReader(tmp_path).stages()
    assert stage.per_hour == pytest.approx(1800.0)
    assert stage.seconds_left == pytest.approx(4.0)


def test_slides_that_were_only_found_do_not_make_a_run_look_fast(tmp_path: Path) -> None:
    end(tmp_path, "a", reason="reused")
    (stage,) = StatusReader(tmp_path).stages()
    assert stage.done == 1
    assert stage.per_hour is None


def test_a_folder_that_no_run_knows_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no run has worked in this folder"):
        StatusReader(tmp_path)


def test_the_command_ends_with_0_or_3(tmp_path: Path) -> None:
    plan(tmp_path, "a", "b")
    end(tmp_path, "a")
    ended = RUNNER.invoke(app, ["status", str(tmp_path)])
    assert ended.exit_code == 0, ended.output
    assert ended.stdout.split("\n")[1].split()[:6] == ["tile", "2", "1", "0", "0", "1"]
    end(tmp_path, "b", "failed", "[bold]x")
    ended = RUNNER.invoke(app, ["status", str(tmp_path), "--json", "--watch"])
    assert ended.exit_code == 3
    assert json.loads(ended.stdout)[0]["failures"][0]["reason"] == "[bold]x"
    assert "tile 2/2 · 1 failed" in ended.stderr


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59, "59 s"), (61, "1 min 1 s"), (7200, "2 h"), (90061, "1 d 1 h")],
)
def test_durations_are_told_in_two_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text
