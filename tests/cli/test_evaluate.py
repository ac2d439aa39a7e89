from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hvit_cli.cli.app import app

RUNNER = CliRunner()


@pytest.fixture
def tables(tmp_path: Path) -> list[str]:
    rows = "".join(f"s{i},{i % 6}\n" for i in range(36))
    (tmp_path / "labels.csv").write_text("slide_id,label\n" + rows, encoding="utf-8")
    for name, wrong in (("a", 6), ("b", 4)):
        rows = "".join(f"s{i},{min(i % 6 + (i % wrong == 0), 5)}\n" for i in range(36))
        (tmp_path / f"{name}.csv").write_text("slide_id,grade\n" + rows, encoding="utf-8")
    return [str(tmp_path / f"{name}.csv") for name in ("a", "b", "labels")]


def test_numbers_are_said_and_written(tables: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    ended = RUNNER.invoke(
        app, ["evaluate", tables[0], tables[2], "-o", str(out), "--worst", "3", "-w", str(out)]
    )
    assert ended.exit_code == 0, ended.output
    assert "36 expected, 36 found" in ended.stdout
    assert "quadratic weighted" in ended.stdout
    assert "3 of the worst slides have no heatmap" in ended.stderr
    stored = json.loads((out / "evaluation.json").read_text(encoding="utf-8"))
    said = RUNNER.invoke(app, ["evaluate", tables[0], tables[2], "--json"])
    assert json.loads(said.stdout) == stored


def test_a_contact_sheet_needs_a_folder(tables: list[str]) -> None:
    ended = RUNNER.invoke(app, ["evaluate", tables[0], tables[2], "--worst", "3"])
    assert ended.exit_code == 2
    assert "-o" in ended.stderr


def test_the_verdict_is_said(tables: list[str]) -> None:
    ended = RUNNER.invoke(app, ["compare", *tables, "--margin", "0.2"])
    assert ended.exit_code == 0, ended.output
    assert "Is A as good as B, within 0.2? yes" in ended.stdout
    ended = RUNNER.invoke(app, ["compare", *tables, "--margin", "0.2", "--json"])
    assert json.loads(ended.stdout)["non_inferior"] == "yes"
    ended = RUNNER.invoke(app, ["compare", *tables])
    assert ended.exit_code == 2
    assert "--margin" in ended.stderr
