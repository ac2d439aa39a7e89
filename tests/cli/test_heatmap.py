from __future__ import annotations

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from hvit_cli.cli.app import HvitGroup
from hvit_cli.cli.heatmap import heatmap


@pytest.fixture
def app() -> typer.Typer:
    alone = typer.Typer(cls=HvitGroup, pretty_exceptions_enable=False)
    alone.command()(heatmap)
    alone.callback()(lambda: None)
    return alone


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--level", "both"], "--level: the setting level is out of range; found 'both'"),
        (["--map", "single", "--scale", "relative"], "--scale: the setting scale is out of range"),
        (["--map", "contribution", "--head", "1"], "--head: the setting head is out of range"),
        (["--map", "rollout", "--level", "patch"], "--level: the setting level is out of range"),
        (["--unit", "block"], "--unit: the setting unit is out of range; found 'block'"),
        (["--gamma", "0.5"], "--gamma: the setting gamma is out of range; found 0.5"),
        (["--size", "10"], "--size: the setting size is out of range; found 10"),
        (["--opacity", "2"], "--opacity: the setting opacity is out of range; found 2.0"),
        (["--colour-range", "3", "1"], "--colour-range: the setting colour_range is out of range"),
        (["-o", "map.svg"], "map.svg: a heatmap cannot be written in this format; found .svg"),
        (["--scores", "map.txt"], "map.txt: scores are written as NPZ; found .txt; wanted .npz"),
        (["--colour-map", "nicest"], "--colour-map: no such colour map; found nicest"),
        (["--side-by-side", "--plain"], "--side-by-side shows both kinds of attention"),
    ],
)
def test_a_wrong_option_is_one_line_and_exit_code_2(
    app: typer.Typer, tmp_path: Path, options: list[str], line: str
) -> None:
    slide = tmp_path / "slide.tiff"
    slide.write_bytes(b"")
    work = tmp_path / "work"
    ended = CliRunner().invoke(app, ["heatmap", str(slide), "-w", str(work), *options])
    assert ended.exit_code == 2
    assert ended.stderr.startswith(f"Error {line}")
    assert ended.stderr.count("\n") == 1
    assert ended.stdout == ""
    assert not work.exists()


def test_a_slide_that_is_not_there_is_one_line(app: typer.Typer, tmp_path: Path) -> None:
    missing = tmp_path / "[batch1]" / "slide.tiff"
    ended = CliRunner().invoke(app, ["heatmap", str(missing), "-w", str(tmp_path / "work")])
    assert ended.exit_code == 1
    assert "[batch1]" in ended.stderr
    assert ended.stderr.count("\n") == 1
