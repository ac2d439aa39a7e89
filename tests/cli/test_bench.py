from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hvit_cli.benchmarks.guard import Ratio
from hvit_cli.benchmarks.machine import Machine
from hvit_cli.cli.app import app
from hvit_cli.pipelines import bench

RUNNER = CliRunner()
MACHINE = Machine(
    processor="abacus",
    cores=2,
    threads=2,
    memory_gib=1.0,
    device="cpu",
    system="wood",
    versions={},
)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> dict[str, Ratio]:
    """What the measurement will say."""
    ratios = {"decode": Ratio(median=5.0, lowest=4.5, highest=5.5)}
    monkeypatch.setattr(bench, "_ratios", lambda *_: (ratios, MACHINE, "drawn"))
    return ratios


def test_a_ratio_below_its_record_ends_with_code_1_and_a_line(
    measured: dict[str, Ratio], tmp_path: Path
) -> None:
    record = str(tmp_path / "ratios.json")
    assert RUNNER.invoke(app, ["bench", "--record", record]).exit_code == 0
    assert json.loads(Path(record).read_text())["machine"]["processor"] == "abacus"
    same = RUNNER.invoke(app, ["bench", "--check", "--against", record])
    assert same.exit_code == 0
    assert "fallen" not in same.output
    measured["decode"] = Ratio(median=1.0, lowest=1.0, highest=1.0)
    fell = RUNNER.invoke(app, ["bench", "--check", "--against", record])
    assert fell.exit_code == 1
    assert "fallen: decode 1.00, at least 3.75 is wanted" in fell.stderr
    told = RUNNER.invoke(app, ["bench", "--check", "--against", record, "--json"])
    assert told.exit_code == 1
    assert json.loads(told.stdout)["verdicts"][0]["fallen"]


@pytest.mark.parametrize(
    "arguments",
    [["train", "--check"], ["pretrain", "--record", "x.json"], ["--check", "--record", "x.json"]],
)
def test_ratios_are_measured_on_slides_and_either_checked_or_recorded(
    arguments: list[str],
) -> None:
    assert RUNNER.invoke(app, ["bench", *arguments]).exit_code == 2


def test_a_slide_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    ended = RUNNER.invoke(app, ["bench", str(tmp_path / "none.svs"), "--model", "demo"])
    assert ended.exit_code == 1
    assert "none.svs" in ended.stderr
