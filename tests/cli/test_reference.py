from __future__ import annotations

from pathlib import Path

from hvit_cli.cli.reference import reference

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "commands.md"


def test_the_page_of_commands_is_what_the_program_says() -> None:
    wanted = reference()
    assert wanted.count("\n## `hvit ") >= 9
    assert PAGE.read_text() == wanted, (
        "python -m hvit_cli.cli.reference > docs/reference/commands.md"
    )
