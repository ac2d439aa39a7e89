from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from hvit_cli.cli.app import app

RUNNER = CliRunner()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--blind", "--labels", "labels.csv"], 2, "blinded sheets show no labels"),
        (["--blind", "--plain", "--model", "demo"], 2, "both kinds of attention"),
        (["--blind", "--scale", "raw", "--model", "demo"], 2, "relative, rank or minmax"),
        (["--top", "99"], 2, "0 to 48"),
        (["--level", "patch", "--model", "demo"], 2, "none for tokens"),
        (["--level", "pixel"], 2, "level"),
        (["--labels", "nowhere.csv", "--model", "demo"], 1, "nowhere.csv"),
        (["--colour-map", "no-such-map"], 2, "no-such-map"),
        (["--seed", "-1"], 2, "0 or more"),
    ],
)
def test_mistakes_end_with_one_line_and_their_code(
    arguments: list[str], code: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "slide.tiff").write_bytes(b"")
    ended = RUNNER.invoke(app, ["report", "slide.tiff", *arguments])
    assert ended.exit_code == code, ended.output
    assert said in " ".join(ended.stderr.replace("│", " ").split())
    assert "Traceback" not in ended.output and ended.stdout == ""


def test_an_x_does_for_the_sign_of_a_product(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "slide.tiff").write_bytes(b"")
    ended = RUNNER.invoke(
        app, ["report", "slide.tiff", "--level", "regionxslide", "--model", "nowhere"]
    )
    # The level is understood; the model is what is missing.
    assert ended.exit_code == 1 and "nowhere" in ended.stderr
