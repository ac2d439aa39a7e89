from __future__ import annotations

from pathlib import Path

import pytest

from hvit_cli.engine.run import run_slides
from hvit_cli.errors import PixelError
from hvit_cli.slides.manifest import SlideEntry
from hvit_cli.storage.status import StatusRow, read_status
from hvit_cli.storage.work import WorkFolder

ENTRIES = [SlideEntry(slide_id=name, path=Path(f"{name}.svs")) for name in ("a", "b", "c")]


def done(entry: SlideEntry) -> tuple[StatusRow, str]:
    row = StatusRow(slide_id=entry.slide_id, path=str(entry.path), stage="tile", status="done")
    return row, entry.slide_id.upper()


def failing_with(error: BaseException, at: str = "b"):  # type: ignore[no-untyped-def]
    def step(entry: SlideEntry) -> tuple[StatusRow, str]:
        if entry.slide_id == at:
            raise error
        return done(entry)

    return step


def test_every_slide_gives_a_record_in_order_and_a_row(tmp_path: Path) -> None:
    records = list(run_slides(ENTRIES, done, stage="tile", work=WorkFolder(tmp_path)))
    assert [(r.number, r.total, r.product) for r in records] == [
        (1, 3, "A"),
        (2, 3, "B"),
        (3, 3, "C"),
    ]
    assert [r.slide_id for r in read_status(tmp_path)] == ["a", "b", "c"]
    assert (tmp_path / "status.csv").read_text().count("\n") == 4


def test_a_slide_that_fails_is_a_record_and_the_others_are_done(tmp_path: Path) -> None:
    step = failing_with(PixelError("a tile cannot be decoded", where="b.svs"))
    records = list(run_slides(ENTRIES, step, stage="tile", work=WorkFolder(tmp_path)))
    assert [r.row.status for r in records] == ["done", "failed", "done"]
    assert records[1].row.reason == "b.svs: a tile cannot be decoded"
    assert records[1].product is None


def test_a_bug_is_a_failed_slide_with_its_traceback_kept(tmp_path: Path) -> None:
    step = failing_with(ZeroDivisionError("one\ntwo"))
    records = list(run_slides(ENTRIES, step, stage="tile", work=WorkFolder(tmp_path)))
    assert [r.row.status for r in records] == ["done", "failed", "done"]
    assert records[1].row.reason.startswith("unexpected ZeroDivisionError: one two (traceback in")
    trace = WorkFolder(tmp_path).traceback("b", "tile").read_text()
    assert trace.startswith("Traceback")
    assert "in step" in trace


def test_an_interrupted_run_keeps_its_rows_and_writes_the_table(tmp_path: Path) -> None:
    step = failing_with(KeyboardInterrupt(), at="c")
    with pytest.raises(KeyboardInterrupt):
        list(run_slides(ENTRIES, step, stage="tile", work=WorkFolder(tmp_path)))
    assert (tmp_path / "status.csv").read_text().count("\n") == 3


def test_rows_are_on_disk_before_their_record_is_seen(tmp_path: Path) -> None:
    for record in run_slides(ENTRIES, done, stage="tile", work=WorkFolder(tmp_path)):
        assert record.row in read_status(tmp_path)
