"""Several processes on this machine, each of which may die without taking the run with it."""

from __future__ import annotations

import logging
import multiprocessing
import pickle
import signal
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar

from hvit_cli.engine.attempt import Cause, Outcome, failed_row
from hvit_cli.engine.job import SlideJob
from hvit_cli.engine.limits import GIB, gpu_of_worker, resident_bytes, threads_per_worker
from hvit_cli.engine.worker import serve
from hvit_cli.errors import HvitError, WorkerError
from hvit_cli.slides.entry import SlideEntry
from hvit_cli.steps.watch import Watch

T = TypeVar("T")

_LOOK_EVERY_S = 0.2
_GRACE_S = 1.0
_DEATHS_IN_VAIN = 3
# OpenCV and torch hang in processes that are forked from one that has used them.
_SPAWN = multiprocessing.get_context("spawn")


class Processes(Generic[T]):
    """Takes slides, and gives each to a process that has opened the job.

    Args:
        job: What is done; must be picklable.
        count: Processes.
        timeout_s: Time after which a slide's process is killed and replaced.
        memory_gib: Memory above which it is.
        watch: Told how far the slides are.
    """

    def __init__(
        self,
        job: SlideJob[T],
        count: int,
        *,
        timeout_s: float | None = None,
        memory_gib: float | None = None,
        watch: Watch | None = None,
    ) -> None:
        self.job = job
        self.timeout_s = timeout_s
        self.memory_gib = memory_gib
        self.watch = watch
        self._deaths = 0
        given = (pickle.dumps(job), threads_per_worker(count), watch is not None)
        self._places = [_Place(given, number) for number in range(count)]

    def is_free(self) -> bool:
        """Whether a process has no slide."""
        return any(place.entry is None for place in self._places)

    def give(self, entry: SlideEntry) -> None:
        """Sends a slide to an idle process, to one that is ready where there is one."""
        idle = [place for place in self._places if place.entry is None]
        min(idle, key=lambda place: not place.is_ready).take(entry)

    def wait(self, seconds: float) -> list[Outcome[T]]:
        """The slides that ended, by themselves or by the end of their process.

        Raises:
            HvitError: The job can be done on no slide, or its processes die while they open it.
        """
        until = time.monotonic() + seconds
        while True:
            watched = [place.connection for place in self._places]
            left = max(0.0, until - time.monotonic())
            spoken = wait(watched, min(left, _LOOK_EVERY_S))
            ended = [
                outcome
                for place in self._places
                for outcome in self._after(place, place.connection in spoken)
            ]
            if ended or time.monotonic() >= until:
                return ended

    def close(self) -> None:
        """Ends every process: politely, and a second later without asking."""
        for place in self._places:
            place.process.terminate()
        until = time.monotonic() + _GRACE_S
        for place in self._places:
            place.process.join(max(0.0, until - time.monotonic()))
        for place in self._places:
            place.end()

    def _after(self, place: _Place, has_spoken: bool) -> Iterator[Outcome[T]]:
        """Hears one process, and looks whether it lives within its limits."""
        if has_spoken:
            try:
                message = place.connection.recv()
            except (EOFError, OSError, pickle.UnpicklingError):
                yield from self._died(place)
                return
            yield from self._heard(place, message)
        # Also of one that has spoken: it may have much to say of how far it is.
        if place.entry is not None and place.started is not None:
            yield from self._over_limit(place, place.entry, time.monotonic() - place.started)

    def _heard(self, place: _Place, message: tuple[Any, ...]) -> Iterator[Outcome[T]]:
        kind, *rest = message
        if kind == "log":
            name, level, text = rest
            # Each process says the same while it opens the job; once is enough.
            if place.is_ready or (place.number == 0 and place.starts == 1):
                logging.getLogger(name).log(level, "%s", text)
        elif kind == "ready":
            place.is_ready = True
        elif kind == "refused":
            error: HvitError = rest[0]
            raise error
        elif kind == "started":
            place.started, self._deaths = time.monotonic(), 0
        elif kind == "at":
            if self.watch is not None:
                self.watch(*rest)
        else:
            place.entry = place.started = None
            yield rest[0]

    def _over_limit(self, place: _Place, entry: SlideEntry, seconds: float) -> Iterator[Outcome[T]]:
        if self.timeout_s is not None and seconds > self.timeout_s:
            reason = f"timeout: given up after {seconds:.0f} s (--timeout {self.timeout_s:g})"
            yield self._stopped(place, entry, "timeout", reason)
        elif self.memory_gib is not None:
            held = resident_bytes(place.process.pid or 0)
            if held is not None and held > self.memory_gib * GIB:
                reason = (
                    f"memory: given up at {held / GIB:.2f} GiB (--memory-limit {self.memory_gib:g})"
                )
                yield self._stopped(place, entry, "memory", reason)

    def _stopped(self, place: _Place, entry: SlideEntry, cause: Cause, reason: str) -> Outcome[T]:
        place.process.terminate()
        place.process.join(_GRACE_S)
        return self._replaced(place, entry, cause, reason)

    def _died(self, place: _Place) -> Iterator[Outcome[T]]:
        place.process.join(_GRACE_S)
        how = _how_it_ended(place.process.exitcode)
        if place.entry is not None and place.started is not None:
            yield self._replaced(place, place.entry, "killed", f"killed: its process {how}")
            return
        self._deaths += 1
        if self._deaths >= _DEATHS_IN_VAIN:
            raise WorkerError(
                "the processes die before they begin any slide",
                where=f"--jobs {len(self._places)}",
                found=f"the last one {how}",
                hint="fewer --jobs, or more memory",
            )
        place.replace()  # the slide was not begun: the next process gets it

    def _replaced(self, place: _Place, entry: SlideEntry, cause: Cause, reason: str) -> Outcome[T]:
        seconds = time.monotonic() - place.started if place.started is not None else 0.0
        place.entry = place.started = None
        place.replace()
        row = failed_row(entry, self.job.stage, reason, seconds)
        return Outcome(entry=entry, row=row, product=None, cause=cause)


class _Place:
    """One process after another, the slide it has, and the way to it."""

    def __init__(self, given: tuple[bytes, int, bool], number: int) -> None:
        self.number = number
        self.starts = 0
        self.entry: SlideEntry | None = None
        self.started: float | None = None
        self._given = given
        self._start()

    def _start(self) -> None:
        self.is_ready = False
        self.starts += 1
        self.connection: Connection[Any, Any]
        self.connection, theirs = _SPAWN.Pipe()
        self.process = _SPAWN.Process(
            target=serve,
            args=(theirs, *self._given, gpu_of_worker(self.number)),
            name=f"hvit-worker-{self.number}",
            daemon=True,
        )
        self.process.start()
        theirs.close()
        if self.entry is not None:
            self.connection.send(self.entry)

    def take(self, entry: SlideEntry) -> None:
        self.entry = entry
        try:
            self.connection.send(entry)
        except OSError:
            # It died a moment ago, which its end of the connection says at the next look.
            self.started = None

    def replace(self) -> None:
        self.end()
        self._start()

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()


def _how_it_ended(code: int | None) -> str:
    if code is None:
        return "no longer answers"
    if code < 0:
        name = signal.Signals(-code).name
        hint = ", as the system does when memory runs out" if name == "SIGKILL" else ""
        return f"was ended by {name}{hint}"
    return f"ended with exit code {code}"
