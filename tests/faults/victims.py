"""Runs of the real command that can be killed, and the processes to which they give slides."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

SOON_S = 5.0
"""Time in which the processes of a run that was killed must be gone."""


class Started:
    """A process of its own from the first import on."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self.arguments = arguments
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

    def workers(self) -> list[int]:
        """Its processes that do slides."""
        return workers_of(self.process.pid)

    def kill(self) -> None:
        """SIGKILL, and waits until it is gone."""
        self.process.kill()
        self.process.wait()


class Forked:
    """A process of its own that finds the libraries loaded, which take most of a short run."""

    def __init__(self, arguments: Sequence[str], commands: Sequence[str]) -> None:
        self.arguments = arguments
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(
            [
                "hvit_cli.cli.app",
                *(f"hvit_cli.cli.{name}" for name in commands),
                *(f"hvit_cli.pipelines.{name}" for name in commands),
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

    def workers(self) -> list[int]:
        """Its processes that do slides."""
        return workers_of(self.process.pid or 0)

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


def outliving(processes: Sequence[int]) -> list[int]:
    """Those that still live when they should long have ended."""
    until = time.monotonic() + SOON_S
    left = list(processes)
    while left and time.monotonic() < until:
        time.sleep(0.02)
        left = [one for one in left if _is_alive(one)]
    return left


def _is_alive(process_id: int) -> bool:
    try:
        stat = Path(f"/proc/{process_id}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def workers_of(process_id: int) -> list[int]:
    """The processes to which a run gave slides; Python's own helper is none of them."""
    found = []
    for children in Path(f"/proc/{process_id}/task").glob("*/children"):
        try:
            named = children.read_text().split()
            found += [
                int(child)
                for child in named
                if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()
            ]
        except OSError:
            continue  # it ended meanwhile
    return sorted(found)
