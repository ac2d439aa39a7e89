from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from hvit_cli import __version__
from hvit_cli.cli.app import app

RUNNER = CliRunner()
COMMANDS = (
    "info",
    "segment",
    "tile",
    "encoders",
    "embed",
    "split",
    "pretrain",
    "probe",
    "train",
    "predict",
    "evaluate",
    "compare",
    "heatmap",
    "stress",
    "measure",
    "report",
    "view",
    "convert",
    "demo",
    "bench",
    "status",
    "doctor",
)


def test_the_version_is_printed() -> None:
    assert RUNNER.invoke(app, ["--version"]).stdout == f"hvit {__version__}\n"


def test_the_help_lists_every_command_and_says_it_is_no_medical_device() -> None:
    text = RUNNER.invoke(app, ["--help"]).stdout
    assert "not a medical device" in " ".join(text.split())
    for command in COMMANDS:
        assert f" {command} " in text


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_help_page(command: str) -> None:
    ended = RUNNER.invoke(app, [command, "--help"])
    assert ended.exit_code == 0
    assert "Usage" in ended.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["tile", "no-such-folder[1]"], 1, "no-such-folder[1]"),
        (["tile", ".", "--region", "2000"], 2, "multiple of the patch"),
        (["tile", ".", "--region", "many"], 2, "--region"),
        (["tile", ".", "--min-tissue", "7"], 2, "--min-tissue"),
        (["predict", "slide.png", "--model", "nowhere"], 1, "nowhere"),
        (["embed", "slide.png"], 2, "--encoder"),
        (["segment", ".", "--mask-dir", ".", "--tissue-geojson", "."], 2, "exclude each other"),
        (["tile", ".", "--tissue-value", "a,b"], 2, "--tissue-value"),
        (["unknown"], 2, "unknown"),
    ],
)
def test_mistakes_end_with_one_line_and_their_code(
    arguments: list[str], code: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "slide.png").write_bytes(b"")
    ended = RUNNER.invoke(app, arguments)
    assert ended.exit_code == code, ended.output
    assert said in " ".join(ended.stderr.replace("│", " ").split())
    assert "Traceback" not in ended.output
    assert ended.stdout == ""
