"""Kills the real command again and again, starts it anew, and compares with an undisturbed run.

    python tests/faults/kills.py --kills 6
    python tests/faults/kills.py --kills 4 --jobs 2
    python tests/faults/kills.py --kills 4 --jobs 2 --victim worker
    python tests/faults/kills.py --in-a-row --commands train pretrain

A run is killed (SIGKILL to the main process) at a random moment between the first file that
it writes and its end; the same command is started again and killed again, until it has ended
by itself. Then everything it left must be what an undisturbed run leaves. With `--victim worker`
one of its processes is killed instead, and the run itself must come to that end; with
`--in-a-row` every start of one long training is killed until nothing is left to do.
"""

from __future__ import annotations

import argparse
import os
import random
import runpy
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from endings import TEMPORARY, differences, files_of, stats_of
from victims import Forked, Started, outliving

_HERE = Path(__file__).resolve().parent
COMMANDS = ("segment", "tile", "embed", "predict", "train", "pretrain")
SHARED = ("segment", "tile", "embed", "predict", "measure", "stress")
"""Commands that spread slides over processes."""
LONG = {"train": ("--epochs", "60"), "pretrain": ("--epochs", "12")}
"""What makes a training long enough to be killed many times."""
_LONGEST_S = 300.0
_SHARE_IN_A_ROW = 0.25
_MOST_IN_A_ROW = 30
WARM = False


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
        command: One of `COMMANDS` or `SHARED`.
        kills: How often it is to be hit.
        jobs: Processes that share the slides, for the commands that have them.
        seed: Of the moments.
    """
    rng = random.Random(f"{command}-{seed}")
    undisturbed, disturbed = folder / f"{command}-undisturbed", folder / f"{command}-killed"
    arguments = inputs.command(command, disturbed, jobs)
    working_s = _undisturbed(arguments, disturbed, undisturbed)
    outcome = Outcome(command)
    while outcome.kills < kills:
        if _run(arguments, disturbed, rng.uniform(0, working_s), outcome) is None:
            continue
        _compare(undisturbed, disturbed, outcome)
        shutil.rmtree(disturbed)
    if disturbed.exists():
        _run(arguments, disturbed, None, outcome)
        _compare(undisturbed, disturbed, outcome)
    shutil.rmtree(disturbed, ignore_errors=True)
    shutil.rmtree(undisturbed)
    return outcome


def in_a_row(inputs: Any, folder: Path, command: str, *, seed: int = 0) -> Outcome:
    """Kills every start of one long training until nothing is left to do.

    A start lives for less than a quarter of an undisturbed run after its first change.

    Args:
        inputs: From `small_inputs.draw_inputs`.
        folder: Where the runs may write.
        command: train or pretrain.
        seed: Of the moments.
    """
    rng = random.Random(f"{command}-in-a-row-{seed}")
    undisturbed, disturbed = folder / f"{command}-undisturbed", folder / f"{command}-killed"
    arguments = (*inputs.command(command, disturbed), *LONG[command])
    longest_s = _undisturbed(arguments, disturbed, undisturbed) * _SHARE_IN_A_ROW
    outcome = Outcome(command)
    ended = None
    while ended is None and outcome.kills < _MOST_IN_A_ROW:
        ended = _run(arguments, disturbed, rng.uniform(0, longest_s), outcome)
    if ended is None:
        _run(arguments, disturbed, None, outcome)
    _compare(undisturbed, disturbed, outcome)
    shutil.rmtree(disturbed)
    shutil.rmtree(undisturbed)
    return outcome


def deaths(
    inputs: Any, folder: Path, command: str, kills: int, *, jobs: int = 2, seed: int = 0
) -> Outcome:
    """Kills a process of a run, which must come to the usual end by itself; `kills` times.

    Args:
        inputs: From `small_inputs.draw_inputs`.
        folder: Where the runs may write.
        command: One of `SHARED`.
        kills: How many processes are to be hit, one in each run.
        jobs: Processes that share the slides.
        seed: Of the moments.
    """
    rng = random.Random(f"{command}-worker-{seed}")
    undisturbed, disturbed = folder / f"{command}-undisturbed", folder / f"{command}-killed"
    arguments = inputs.command(command, disturbed, jobs)
    working_s = _undisturbed(arguments, disturbed, undisturbed)
    outcome = Outcome(command)
    while outcome.kills < kills:
        before = _state(disturbed)
        process = Started(arguments)
        _await_change(process, disturbed, before)
        process.wait(rng.uniform(0, working_s))
        if workers := process.workers():
            os.kill(rng.choice(workers), signal.SIGKILL)
            outcome.kills += 1
            outcome.hit.append(len(files_of(disturbed)))
        _require_success(process.wait(_LONGEST_S), process)
        _compare(undisturbed, disturbed, outcome)
        shutil.rmtree(disturbed)
    shutil.rmtree(undisturbed)
    return outcome


def _undisturbed(arguments: Sequence[str], out: Path, kept: Path) -> float:
    """Runs the command and keeps what it leaves; returns the seconds from its first change on."""
    # The path of the folder must not stand in a result, or must be the same: it is moved there.
    working_s = _run(arguments, out, None, Outcome(arguments[0]))
    if working_s is None:
        raise RuntimeError("nothing was killed")
    out.rename(kept)
    return working_s


def _run(
    arguments: Sequence[str], out: Path, kill_after_s: float | None, outcome: Outcome
) -> float | None:
    """Runs `hvit`; returns the seconds from its first change of `out` to its end.

    None where it was killed, `kill_after_s` after its first change, which `outcome` counts.
    """
    before = _state(out)
    process = Forked(arguments, COMMANDS) if WARM else Started(arguments)
    _await_change(process, out, before)
    first = time.perf_counter()
    code = process.wait(_LONGEST_S if kill_after_s is None else kill_after_s)
    if code is not None or kill_after_s is None:
        _require_success(code, process)
        return time.perf_counter() - first
    workers = process.workers()
    process.kill()
    outcome.differences += [f"process {one} outlived its run" for one in outliving(workers)]
    files = sorted(files_of(out))
    outcome.kills += 1
    outcome.hit.append(len(files))
    outcome.torn += sum(TEMPORARY in name for name in files)
    return None


def _await_change(process: Started | Forked, out: Path, before: frozenset[tuple[str, int]]) -> None:
    started = time.perf_counter()
    while process.is_running() and _state(out) == before:
        time.sleep(0.005)
        if time.perf_counter() - started > _LONGEST_S:
            process.kill()
            raise TimeoutError(f"nothing was written in {_LONGEST_S} s: {process.arguments}")


def _require_success(code: int | None, process: Started | Forked) -> None:
    told = f"hvit {' '.join(process.arguments)}"
    if code is None:
        process.kill()
        raise TimeoutError(f"no end in {_LONGEST_S} s: {told}")
    if code != 0:
        raise RuntimeError(f"{told} ended with {code}")


def _state(folder: Path) -> frozenset[tuple[str, int]]:
    # Claims and the list of slides come before anything is loaded that could do a slide.
    return frozenset(
        (name, stat.st_mtime_ns)
        for name, stat in stats_of(folder)
        if not name.startswith(("claims/", "status/plan/")) and "/.clock-" not in name
    )


def _compare(undisturbed: Path, disturbed: Path, outcome: Outcome) -> None:
    outcome.endings += 1
    outcome.differences += differences(undisturbed, disturbed)


def main() -> int:
    """Runs the campaign and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=6, help="per command")
    parser.add_argument("--commands", nargs="+", choices=sorted({*COMMANDS, *SHARED}))
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--victim", choices=("run", "worker"), default="run")
    parser.add_argument("--in-a-row", action="store_true", help="one long training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--warm", action="store_true", help="fork from loaded libraries")
    options = parser.parse_args()
    global WARM
    WARM = options.warm
    draw_inputs = runpy.run_path(str(_HERE / "small_inputs.py"))["draw_inputs"]
    usual = tuple(LONG) if options.in_a_row else SHARED if options.jobs > 1 else COMMANDS
    failed = False
    print("command    kills survived torn ended files-at-each-kill", flush=True)  # noqa: T201
    with tempfile.TemporaryDirectory() as folder:
        inputs = draw_inputs(Path(folder) / "inputs")
        for command in options.commands or usual:
            outcome = _asked(options, inputs, Path(folder), command)
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


def _asked(options: argparse.Namespace, inputs: Any, folder: Path, command: str) -> Outcome:
    if options.in_a_row:
        return in_a_row(inputs, folder, command, seed=options.seed)
    kill = deaths if options.victim == "worker" else campaign
    return kill(inputs, folder, command, options.kills, jobs=options.jobs, seed=options.seed)


if __name__ == "__main__":
    sys.exit(main())
