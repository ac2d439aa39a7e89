from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hvit_cli.cli.app import app

RUNNER = CliRunner()


def everything(folder: Path) -> dict[str, int]:
    return {str(f): f.stat().st_mtime_ns for f in folder.rglob("*") if f.is_file()}


@pytest.mark.parametrize(
    "command",
    ["segment", "tile", "embed", "predict", "heatmap", "measure", "stress", "report"],
)
def test_nothing_is_written(command: str, slides: Path, model: Path, tmp_path: Path) -> None:
    work = tmp_path / "not-there"
    before = everything(tmp_path)
    more = [] if command in ("segment", "tile") else ["--model", str(model)]
    ended = RUNNER.invoke(app, [command, str(slides), "-w", str(work), "--dry-run", *more])
    assert ended.exit_code == 0, ended.output
    assert "slides: 2 (2 .tiff)" in ended.stdout
    assert "0 done by the logs, 0 failed, 2 pending" in ended.stdout
    assert "time: unknown" in ended.stdout
    assert everything(tmp_path) == before
    assert not work.exists()


def test_the_estimate_from_every_slide_is_what_the_run_then_does(
    slides: Path, tmp_path: Path
) -> None:
    work = tmp_path / "out"
    arguments = ["tile", str(slides), "-w", str(work), "--json"]
    told = json.loads(RUNNER.invoke(app, [*arguments, "--dry-run"]).stdout)
    rows = json.loads(RUNNER.invoke(app, arguments).stdout)
    assert told["is_estimated"]
    assert told["looked_at"] == 2
    assert told["regions"] == sum(row["n_regions"] for row in rows)
    assert told["patches"] == sum(row["n_patches"] for row in rows)
    told = json.loads(RUNNER.invoke(app, [*arguments, "--dry-run"]).stdout)
    assert (told["done"], told["pending"], told["is_estimated"]) == (2, 0, False)
    assert told["seconds"] == 0


def test_a_slide_that_cannot_be_read_is_a_problem_and_no_end(slides: Path, tmp_path: Path) -> None:
    (slides / "broken.svs").write_bytes(b"no slide")
    arguments = ["tile", str(slides), "-w", str(tmp_path / "out"), "--dry-run"]
    ended = RUNNER.invoke(app, arguments)
    assert ended.exit_code == 0
    assert "problem: " in ended.stdout
    assert "broken.svs" in ended.stdout


def test_a_run_writes_down_what_it_left_out(slides: Path, tmp_path: Path) -> None:
    work, table = tmp_path / "out", tmp_path / "exclude.csv"
    table.write_text("slide_id\nbare\n")
    RUNNER.invoke(app, ["tile", str(slides), "-w", str(work), "--exclude", str(table)])
    (stage,) = json.loads(RUNNER.invoke(app, ["status", str(work), "--json"]).stdout)
    assert (stage["planned"], stage["excluded"], stage["pending"]) == (1, 1, 0)
