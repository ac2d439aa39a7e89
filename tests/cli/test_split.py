from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from hvit_cli.cli.app import app

RUNNER = CliRunner()


def test_folds_are_drawn_shown_and_written(tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    rows = "".join(f"s{i},{i % 6},{'ab'[i % 2]}\n" for i in range(60))
    labels.write_text("slide_id,label,site\n" + rows, encoding="utf-8")
    out = tmp_path / "folds.csv"
    ended = RUNNER.invoke(app, ["split", str(labels), "--stratify", "label,site", "-o", str(out)])
    assert ended.exit_code == 0, ended.output
    assert "fold 5" in ended.stdout
    assert "site differ by at most" in ended.stdout
    assert out.read_text(encoding="utf-8").startswith("slide_id,label,fold,set,group,case_id\n")
    ended = RUNNER.invoke(app, ["split", "--check", str(out), "--json"])
    assert [part["slides"] for part in json.loads(ended.stdout)["parts"]] == [12] * 5


def test_several_tables_are_for_checking(tmp_path: Path) -> None:
    table = tmp_path / "a.csv"
    table.write_text("slide_id,label\na,1\n", encoding="utf-8")
    ended = RUNNER.invoke(app, ["split", str(table), str(table)])
    assert ended.exit_code == 2
    assert "--check" in ended.stderr
