from __future__ import annotations

import csv
from pathlib import Path

from hvit_cli.storage.status import StatusLog, StatusRow, read_status


def row(slide_id: str, status: str = "done", stage: str = "tile", **more: object) -> StatusRow:
    return StatusRow(slide_id=slide_id, path=f"{slide_id}.svs", stage=stage, status=status, **more)  # type: ignore[arg-type]


def test_the_latest_row_of_each_slide_and_stage_counts(tmp_path: Path) -> None:
    log = StatusLog(tmp_path)
    log.append(row("a", "failed", reason="disk"))
    log.append(row("b"))
    log.append(row("a", "done", n_regions=3))
    log.append(row("a", "done", stage="embed"))
    rows = read_status(tmp_path)
    assert [(r.slide_id, r.stage, r.status) for r in rows] == [
        ("a", "embed", "done"),
        ("a", "tile", "done"),
        ("b", "tile", "done"),
    ]
    assert rows[1].n_regions == 3


def test_logs_of_several_processes_are_merged(tmp_path: Path) -> None:
    StatusLog(tmp_path, "0of2").append(row("a"))
    StatusLog(tmp_path, "1of2").append(row("b"))
    assert len(list((tmp_path / "status").glob("*.jsonl"))) == 2
    assert [r.slide_id for r in read_status(tmp_path)] == ["a", "b"]


def test_a_line_torn_by_a_kill_is_no_line(tmp_path: Path) -> None:
    log = StatusLog(tmp_path)
    log.append(row("a"))
    with log.path.open("a") as file:
        file.write('{"time": 1, "slide_id": "b", "sta')
    assert [r.slide_id for r in read_status(tmp_path)] == ["a"]


def test_the_table_has_every_column_and_no_formula(tmp_path: Path) -> None:
    log = StatusLog(tmp_path)
    log.append(row("=cmd", "failed", reason="-x, with a comma", spacing_um=0.4861))
    with log.write_table().open(newline="") as file:
        (line,) = csv.DictReader(file)
    assert line["slide_id"] == "'=cmd"
    assert line["reason"] == "'-x, with a comma"
    assert line["spacing_um"] == "0.4861"
    assert line["n_regions"] == ""
