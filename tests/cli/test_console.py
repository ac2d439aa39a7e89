"""What is printed, to people and to pipes."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from hvit_cli.cli import console
from hvit_cli.engine.run import SlideRecord
from hvit_cli.storage.status import Status, StatusRow


def record(slide_id: str, status: Status, reason: str = "") -> SlideRecord[None]:
    row = StatusRow(
        slide_id=slide_id, path=f"{slide_id}.svs", stage="tile", status=status, reason=reason
    )
    return SlideRecord(number=1, total=1, row=row, product=None)


def said(records: list[SlideRecord[None]], capsys: pytest.CaptureFixture[str]) -> list[str]:
    console.say_status(records)
    return capsys.readouterr().out.splitlines()


def test_a_table_in_a_pipe_loses_no_text_and_breaks_no_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    cells = ["slide-" + "x" * 174, "reason " * 200, "second", "[batch1] of 3"]
    columns = ["slide", "why it failed, in the words of whoever found it", "another", "more"]
    console.say_table(columns, [cells])
    heading, row = capsys.readouterr().out.splitlines()
    assert all(column in heading for column in columns)
    assert all(cell.strip() in row for cell in cells)


def test_a_line_in_a_pipe_does_not_end_in_spaces(capsys: pytest.CaptureFixture[str]) -> None:
    said([record("good", "done"), record("bad", "failed", "no such file " * 20)], capsys)
    console.say_table(["slide", "reason"], [["good", None], ["bad", "long " * 90]])
    out = capsys.readouterr().out
    assert len(out.splitlines()) == 3
    assert all(line == line.rstrip() for line in out.splitlines())


def test_a_hundred_slides_are_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    lines = said([record(f"s{number}", "done") for number in range(100)], capsys)
    assert len(lines) == 101


def test_of_many_slides_only_some_without_a_result_are_shown_failed_ones_first(
    capsys: pytest.CaptureFixture[str],
) -> None:
    records = [
        *(record(f"empty{number}", "no_tissue") for number in range(30)),
        *(record(f"good{number}", "done") for number in range(100_000)),
        *(record(f"bad{number}", "failed", "no such file") for number in range(5)),
    ]
    lines = said(records, capsys)
    assert lines[0] == (
        "100035 slides: 100000 done, 30 no_tissue, 5 failed; "
        "all of them: status.csv in the work folder"
    )
    assert lines[1] == "The first 20 of 35 slides without a result:"
    shown = [line.split()[0] for line in lines[3:]]
    assert shown == [*(f"bad{n}" for n in range(5)), *(f"empty{n}" for n in range(15))]


def test_many_slides_that_are_all_done_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    lines = said([record(f"s{number}", "done") for number in range(101)], capsys)
    assert lines == ["101 slides: 101 done; all of them: status.csv in the work folder"]


def test_status_names_a_bounded_number_of_reasons(tmp_path_factory: pytest.TempPathFactory) -> None:
    from hvit_cli.cli.app import app
    from hvit_cli.storage.status import StatusLog

    work = tmp_path_factory.mktemp("work")
    log = StatusLog(work)
    for number in range(200):
        reason = f"the file has {number:03d} bytes"
        log.append(record(f"s{number}", "failed", reason).row, "slide")
    ended = CliRunner().invoke(app, ["status", str(work)])
    assert ended.exit_code == 3
    lines = [line for line in ended.stdout.splitlines() if line.startswith("tile:")]
    assert len(lines) == 21
    assert lines[-1] == (f"tile: 180 more failed for 180 other reasons: {work / 'status.csv'}")
