"""Kills the real command again and again, starts it anew, and compares with an undisturbed run.

    python tests/faults/kills.py --kills 6 --commands segment tile embed predict train pretrain

A run is killed (SIGKILL to the main process) at a random moment between the first file that
it writes and its end; the same command is started again and killed again, until it has ended
by itself. Then everything it left must be what an undisturbed run leaves.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import multiprocessing
import os
import random
import runpy
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_HERE = Path(__file__).resolve().parent
COMMANDS = ("segment", "tile", "embed", "predict", "train", "pretrain")
_LONGEST_S = 300.0
_TEMPORARY = ".hvit-tmp-"
WARM = False
# Seconds, and whether a product was found or made, depend on when the run was killed.
_VARYING = {"seconds", "reason", "patches_per_s"}


@dataclass
class Outcome:
    """What became of one command.

    Attributes:
        command: Its name.
        kills: Kills that hit it while it worked.
        torn: Temporaries that the kills left behind.
        endings: Runs that ended by themselves, each compared.
        differences: What was not as in the undisturbed run.
        hit: For each kill, how many files the folder held.
    """

    command: str
    kills: int = 0
    torn: int = 0
    endings: int = 0
    differences: list[str] = field(default_factory=list)
    hit: list[int] = field(default_factory=list)


def campaign(
    inputs: Any, folder: Path, command: str, kills: int, *, jobs: int = 1, seed: int = 0
) -> Outcome:
    """Kills one command until it was hit `kills` times.

    Args:
        inputs: From `small_inputs.draw_inputs`.
        folder: Where the runs may write.
        command: segment, tile, embed, predict, train or pretrain.
        kills: How often it is to be hit.
        jobs: Processes that share the slides, for the commands that have them.
        seed: Of the moments.
    """
    rng = random.Random(f"{command}-{seed}")
    undisturbed, disturbed = folder / f"{command}-undisturbed", folder / f"{command}-killed"
    # The path of the folder must not stand in a result, or must be the same: it is moved there.
    working_s = _run(inputs.command(command, disturbed, jobs), disturbed, None)
    if working_s is None:
        raise RuntimeError("nothing was killed")
    disturbed.rename(undisturbed)
    outcome = Outcome(command)
    while outcome.kills < kills:
        delay_s = rng.uniform(0, working_s)
        if _run(inputs.command(command, disturbed, jobs), disturbed, delay_s) is None:
            outcome.kills += 1
            files = sorted(_files(disturbed))
            outcome.hit.append(len(files))
            outcome.torn += sum(_TEMPORARY in name for name in files)
            continue
        _compare(undisturbed, disturbed, outcome)
        shutil.rmtree(disturbed)
    if disturbed.exists():
        _run(inputs.command(command, disturbed, jobs), disturbed, None)
        _compare(undisturbed, disturbed, outcome)
    shutil.rmtree(disturbed, ignore_errors=True)
    return outcome


def _run(arguments: Sequence[str], out: Path, kill_after_s: float | None) -> float | None:
    """Runs `hvit`; returns the seconds from its first change of `out` to its end.

    None where it was killed, `kill_after_s` after its first change.
    """
    before = _state(out)
    process = Forked(arguments) if WARM else Started(arguments)
    started = time.perf_counter()
    while process.is_running() and _state(out) == before:
        time.sleep(0.005)
        if time.perf_counter() - started > _LONGEST_S:
            process.kill()
            raise TimeoutError(f"nothing was written in {_LONGEST_S} s: {arguments}")
    first = time.perf_counter()
    code = process.wait(_LONGEST_S if kill_after_s is None else kill_after_s)
    if code is None:
        process.kill()
        if kill_after_s is None:
            raise TimeoutError(f"no end in {_LONGEST_S} s: {arguments}")
        return None
    if code != 0:
        raise RuntimeError(f"hvit {' '.join(arguments)} ended with {code}")
    return time.perf_counter() - first


class Started:
    """A process of its own from the first import on."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "hvit_cli", *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"},
        )

    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self.process.poll() is None

    def wait(self, seconds: float) -> int | None:
        """Its exit code; None where it still runs after this time."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def kill(self) -> None:
        """SIGKILL, and waits until it is gone."""
        self.process.kill()
        self.process.wait()


class Forked:
    """A process of its own that finds the libraries loaded, which take most of a short run."""

    def __init__(self, arguments: Sequence[str]) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(
            [
                "hvit_cli.cli.app",
                *(f"hvit_cli.cli.{name}" for name in COMMANDS),
                *(f"hvit_cli.pipelines.{name}" for name in COMMANDS),
            ]
        )
        self.process = context.Process(target=_hvit, args=(list(arguments),))
        self.process.start()

    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self.process.is_alive()

    def wait(self, seconds: float) -> int | None:
        """Its exit code; None where it still runs after this time."""
        self.process.join(seconds)
        return self.process.exitcode

    def kill(self) -> None:
        """SIGKILL, and waits until it is gone."""
        self.process.kill()
        self.process.join()


def _hvit(arguments: list[str]) -> None:
    from hvit_cli.__main__ import main

    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    sys.argv = ["hvit", *arguments]
    main()


def _state(folder: Path) -> frozenset[tuple[str, int]]:
    return frozenset(
        (name, stat.st_mtime_ns)
        for name, stat in _stats(folder)
        if not name.startswith(("claims", "/claims")) and "/.clock-" not in name
    )


def _stats(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    for path in folder.rglob("*") if folder.exists() else ():
        try:
            if path.is_file():
                yield str(path.relative_to(folder)), path.stat()
        except FileNotFoundError:
            continue  # it was renamed meanwhile


def _files(folder: Path) -> set[str]:
    return {name for name, _ in _stats(folder)}


def _compare(undisturbed: Path, disturbed: Path, outcome: Outcome) -> None:
    """Notes every difference; logs are compared by what they say of each slide."""
    outcome.endings += 1
    one, two = (
        {name for name in _files(folder) if not name.startswith("status/")}
        for folder in (undisturbed, disturbed)
    )
    outcome.differences += [f"{name} is left over" for name in sorted(two - one)]
    outcome.differences += [f"{name} is missing" for name in sorted(one - two)]
    for name in sorted(one & two):
        if _content(undisturbed / name) != _content(disturbed / name):
            outcome.differences.append(f"{name} differs")
    torn = {name for name in _files(disturbed) if _TEMPORARY in name}
    outcome.differences += [f"{name} was not swept" for name in sorted(torn - two)]


def _content(path: Path) -> object:
    """Bytes; of tables and records, everything but times and remarks."""
    content = path.read_bytes()
    if path.suffix == ".csv":
        rows = csv.DictReader(io.StringIO(content.decode()))
        return [{k: v for k, v in row.items() if k not in _VARYING} for row in rows]
    if path.suffix == ".json":
        return _without_times(json.loads(content))
    # The page of overviews repeats the remark of a slide that was done before the kill.
    return content.replace(b" \xc2\xb7 reused", b"") if path.suffix == ".html" else content


def _without_times(value: object) -> object:
    if isinstance(value, dict):
        return {k: _without_times(v) for k, v in value.items() if k not in _VARYING}
    return [_without_times(v) for v in value] if isinstance(value, list) else value


def main() -> int:
    """Runs the campaign and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=6, help="per command")
    parser.add_argument("--commands", nargs="+", choices=COMMANDS, default=list(COMMANDS))
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--warm", action="store_true", help="fork from loaded libraries")
    options = parser.parse_args()
    global WARM
    WARM = options.warm
    draw_inputs = runpy.run_path(str(_HERE / "small_inputs.py"))["draw_inputs"]
    failed = False
    print("command    kills survived torn ended files-at-each-kill", flush=True)  # noqa: T201
    with tempfile.TemporaryDirectory() as folder:
        inputs = draw_inputs(Path(folder) / "inputs")
        for command in options.commands:
            outcome = campaign(
                inputs,
                Path(folder),
                command,
                options.kills,
                jobs=options.jobs,
                seed=options.seed,
            )
            failed |= bool(outcome.differences)
            survived = 0 if outcome.differences else outcome.kills
            print(  # noqa: T201
                f"{command:10} {outcome.kills:5} {survived:8} {outcome.torn:4} "
                f"{outcome.endings:5} {outcome.hit}",
                *outcome.differences,
                sep="\n    ",
                flush=True,
            )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
