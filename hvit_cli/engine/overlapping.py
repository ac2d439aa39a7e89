"""Several slides at a time in this process, so that one is prepared while another is computed."""

from __future__ import annotations

import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYetError
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from hvit_cli.engine.attempt import Outcome, attempt
from hvit_cli.engine.job import SlideJob
from hvit_cli.slides.entry import SlideEntry
from hvit_cli.steps.watch import Watch

T = TypeVar("T")


class RunOver(BaseException):
    """Ends a slide that is being worked on, when nobody waits for it any more."""


@dataclass(frozen=True)
class _Tried(Generic[T]):
    """A try, and when it began and ended by `time.perf_counter`."""

    outcome: Outcome[T]
    began: float
    ended: float


class Overlapping(Generic[T]):
    """Does slides in threads of this process, and gives them back in the order they came.

    The seconds of a slide are those by which it made the run longer: from the end of the slide
    before it, or its own begin where that is later, to its end.

    Args:
        job: What is done; opened at once. Its `at_once` slides are worked on at a time.
        watch: Told how far slides are, by their threads.

    Raises:
        HvitError: The job cannot be done on any slide.
    """

    def __init__(self, job: SlideJob[T], watch: Watch | None = None) -> None:
        self.job = job
        self.watch = watch
        self._is_over = False
        self._step = job.open_watched(self._told)
        self._slides: deque[Future[_Tried[T]]] = deque()
        self._threads = ThreadPoolExecutor(job.at_once, thread_name_prefix="hvit-slide")
        self._last_end = 0.0

    def is_free(self) -> bool:
        """Whether another slide may be begun."""
        return len(self._slides) < self.job.at_once

    def give(self, entry: SlideEntry) -> None:
        """Begins a slide."""
        self._slides.append(self._threads.submit(self._try, entry))

    def wait(self, seconds: float) -> list[Outcome[T]]:
        """The slide that was given first, if it ends within this time."""
        if not self._slides:
            return []
        try:
            tried = self._slides[0].result(seconds)
        except NotYetError:
            return []
        self._slides.popleft()
        took = max(0.0, tried.ended - max(tried.began, self._last_end))
        self._last_end = max(self._last_end, tried.ended)
        row = replace(tried.outcome.row, seconds=round(took, 3))
        return [replace(tried.outcome, row=row)]

    def close(self) -> None:
        """Ends slides at their next batch of patches, and waits for that."""
        self._is_over = True
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _try(self, entry: SlideEntry) -> _Tried[T]:
        began = time.perf_counter()
        outcome = attempt(entry, self._step, self.job.stage, self.job.work)
        return _Tried(outcome, began, time.perf_counter())

    def _told(self, slide_id: str, done: int, total: int) -> None:
        if self._is_over:
            raise RunOver
        if self.watch is not None:
            self.watch(slide_id, done, total)
