from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hvit_cli.cli.app import app
from hvit_cli.health.check import Check
from hvit_cli.pipelines import doctor

RUNNER = CliRunner()


def test_every_check_is_one_line_and_nothing_is_left_behind(tmp_path: Path) -> None:
    ended = RUNNER.invoke(app, ["doctor", "-w", str(tmp_path / "out")])
    assert ended.exit_code == 0, ended.output
    lines = ended.stdout.strip().split("\n")
    assert {line.split()[0] for line in lines} <= {"fine", "beware"}
    for name in ("python", "libraries", "import order", "JPEG 2000", "cpu", "masked attention"):
        assert any(name in line for line in lines), name
    assert list(tmp_path.iterdir()) == []


def test_something_broken_is_exit_code_1_and_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Check(name="cuda:7", state="broken", found="gone", hint="another")
    monkeypatch.setattr(doctor, "check_devices", lambda: iter([broken]))
    monkeypatch.setattr(doctor, "check_decoders", lambda _: iter([]))
    ended = RUNNER.invoke(app, ["doctor", "-w", str(tmp_path), "--json", "--model", "nowhere"])
    assert ended.exit_code == 1
    checks = {check["name"]: check for check in json.loads(ended.stdout)}
    assert checks["cuda:7"] == {
        "name": "cuda:7",
        "state": "broken",
        "found": "gone",
        "hint": "another",
    }
    assert checks["model nowhere"]["state"] == "broken"
    assert "cuda:7, model nowhere" in ended.stderr
