"""Writes the reference page of all commands from the commands themselves.

`python -m hvit_cli.cli.reference > docs/reference/commands.md`; a test keeps the page equal.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer.main

from hvit_cli.cli.app import app

_HEAD = """# Commands

Made from the program by `python -m hvit_cli.cli.reference > docs/reference/commands.md`.
Results go to stdout, progress and errors to stderr. Exit codes: see [errors](errors.md).
"""


def reference() -> str:
    """The page, as Markdown."""
    group: Any = typer.main.get_command(app)
    return "\n".join([_HEAD, *(_section(name, group.commands[name]) for name in group.commands)])


def _section(name: str, command: Any) -> str:
    arguments = " ".join(
        f"{p.name.upper()}{'…' if p.nargs == -1 else ''}"
        for p in command.params
        if p.param_type_name == "argument"
    )
    summary = " ".join((command.help or "").split())
    lines = [f"## `{' '.join(['hvit', name, arguments]).rstrip()}`", "", summary, ""]
    lines += ["| option | default | meaning |", "|---|---|---|"]
    lines += [f"| {names} | {default} | {text} |" for names, default, text in _options(command)]
    return "\n".join(lines) + "\n"


def _options(command: Any) -> Iterator[tuple[str, str, str]]:
    for parameter in command.params:
        if parameter.param_type_name == "argument" or parameter.name == "help":
            continue
        names = ", ".join(f"`{name}`" for name in [*parameter.opts, *parameter.secondary_opts])
        shown = parameter.default not in (None, False, ())
        default = f"`{parameter.default}`" if shown else ""
        text = " ".join((parameter.help or "").split()).replace("|", "\\|")
        if parameter.envvar:
            text += f" Also `{parameter.envvar}`."
        yield names, default, text


if __name__ == "__main__":
    typer.echo(reference(), nl=False)
