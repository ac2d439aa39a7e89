from __future__ import annotations

import inspect
from importlib import import_module
from pathlib import Path

import pytest

from hvit_cli.cli.commands import TOPICS, CommandsOnDemand

LISTED = {name: said for commands in TOPICS.values() for name, said in commands.items()}


@pytest.mark.parametrize("name", LISTED)
def test_the_list_says_of_a_command_what_the_command_says_of_itself(name: str) -> None:
    function = getattr(import_module(f"hvit_cli.cli.{name}"), name)
    assert LISTED[name] == (inspect.getdoc(function) or "").split("\n\n")[0].replace("\n", " ")


def test_every_file_with_a_command_is_listed() -> None:
    folder = Path(inspect.getfile(CommandsOnDemand)).parent
    commands = {
        file.stem
        for file in folder.glob("*.py")
        if f"\ndef {file.stem}(" in file.read_text(encoding="utf-8")
    }
    # The page of all commands is written by a function of its own file's name, too.
    assert commands - {"reference", "front_page"} == set(LISTED)


def test_a_command_is_made_once_and_its_name_is_known_before() -> None:
    commands = CommandsOnDemand()
    assert list(commands) == list(LISTED)
    assert len(commands) == len(LISTED)
    assert commands["info"] is commands["info"]
    assert commands.get("no such command") is None
