from __future__ import annotations

import io
import sys

import pytest
from typer.testing import CliRunner

from hvit_cli.cli.app import app
from hvit_cli.cli.front_page import front_page

TOPICS = {"Fruit": {"apple": "Round " * 30, "fig": "Soft."}, "Other": {"stone": "Hard."}}


def page() -> list[str]:
    return front_page("Usage: it COMMAND", "What it is. " * 12, [("-h", "Help.")], TOPICS).split(
        "\n"
    )


@pytest.mark.parametrize("columns", [40, 73, 100])
def test_no_line_is_wider_than_the_terminal_and_no_word_is_lost(
    columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr("typer.style", lambda text, **_: text)
    lines = page()
    framed = [line for line in lines if line[:1] in ("╭", "│", "╰")]
    assert {len(line) for line in framed} == {columns}
    assert max(map(len, lines)) <= columns
    assert sum(line.count("Round") for line in lines) == 30


def test_a_terminal_that_knows_only_ascii_gets_a_frame_of_ascii(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    assert "\n".join(page()).isascii()


def test_the_program_without_a_command_prints_its_page() -> None:
    runner = CliRunner()
    alone, asked = runner.invoke(app, []), runner.invoke(app, ["--help"])
    assert alone.exit_code == 2
    assert asked.exit_code == 0
    assert alone.stdout.strip() == asked.stdout.strip()
    assert "--version" in alone.stdout
