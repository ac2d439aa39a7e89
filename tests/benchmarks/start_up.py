"""How long the program takes to say something, against importing what it says it with.

    python tests/benchmarks/start_up.py [--turns 9]

Runs each command so many times in turn with `import typer, rich` and Typer's own smallest page,
and prints the median of the processor seconds (user and system) and the ratio to the import.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys

_SMALLEST = """
import typer
app = typer.Typer(add_completion=False)
@app.command()
def one(number: int = 1): "Do it."
@app.command()
def other(number: int = 1): "Do it."
app()
"""
_IMPORT = "import typer, rich"


def processor_seconds(arguments: list[str]) -> float:
    """User and system time of `python ARGUMENTS`."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(turns: int) -> dict[str, float]:
    """Median seconds of each, taken in turn."""
    ways = {
        _IMPORT: ["-c", _IMPORT],
        "smallest page that Typer draws": ["-c", _SMALLEST, "--help"],
        "hvit --version": ["-m", "hvit_cli", "--version"],
        "hvit --help": ["-m", "hvit_cli", "--help"],
        "hvit segment --help": ["-m", "hvit_cli", "segment", "--help"],
        "hvit predict --help": ["-m", "hvit_cli", "predict", "--help"],
        "hvit train --help": ["-m", "hvit_cli", "train", "--help"],
        "import torch": ["-c", "import torch"],
        "import all that predict uses": ["-c", "import hvit_cli.pipelines.predict"],
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(turns + 1):
        for name, arguments in ways.items():
            taken = processor_seconds(arguments)
            # The first turn brings the files into memory.
            if turn:
                seconds[name].append(taken)
    return {name: statistics.median(taken) for name, taken in seconds.items()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=9)
    medians = measure(parser.parse_args().turns)
    for name, median in medians.items():
        print(f"{name:34} {median:6.3f} s  {median / medians[_IMPORT]:6.2f}")  # noqa: T201
