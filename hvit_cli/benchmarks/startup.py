"""How long the program takes to start, beside the two libraries it cannot do without."""

from __future__ import annotations

import subprocess
import sys
from functools import partial

from hvit_cli.benchmarks.turns import Way
from hvit_cli.errors import UsageError

HELP, LIBRARIES = "hvit --help", "typer and rich"
_COMMANDS = {
    HELP: [sys.executable, "-m", "hvit_cli", "--help"],
    LIBRARIES: [sys.executable, "-c", "import typer, rich"],
}


def startup_ways() -> dict[str, Way]:
    """A fresh interpreter that shows the help page, and one that imports Typer and Rich."""
    return {name: partial(_run, command) for name, command in _COMMANDS.items()}


def _run(command: list[str]) -> None:
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise UsageError(
            "hvit cannot be started as a program of its own here",
            where=" ".join(command),
            found=(ended.stderr.strip().splitlines() or ["no message"])[-1],
        )
