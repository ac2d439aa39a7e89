"""Who does the slides: what the run asks of it, and the simplest answer, this process itself."""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

from hvit_cli.engine.attempt import Outcome, attempt
from hvit_cli.engine.job import SlideJob
from hvit_cli.slides.entry import SlideEntry
from hvit_cli.steps.watch import Watch, unwatched

T = TypeVar("T")


class Workers(Protocol[T]):
    """Takes slides and gives back how they ended, in the order in which they end."""

    def is_free(self) -> bool:
        """Whether another slide can be given."""

    def give(self, entry: SlideEntry) -> None:
        """Hands a slide over; only while `is_free`."""

    def wait(self, seconds: float) -> list[Outcome[T]]:
        """The slides that ended, waiting for one of them for at most so long.

        Raises:
            HvitError: No slide can be done at all.
        """

    def close(self) -> None:
        """Ends everything at once; slides that are being worked on are left undone."""


class InProcess(Generic[T]):
    """Does one slide at a time, here, while `wait` waits.

    Args:
        job: What is done; opened at once.
        watch: Told how far the slide is.

    Raises:
        HvitError: The job cannot be done on any slide.
    """

    def __init__(self, job: SlideJob[T], watch: Watch | None = None) -> None:
        self.job = job
        self._step = job.open_watched(watch or unwatched)
        self._entry: SlideEntry | None = None

    def is_free(self) -> bool:
        """Whether no slide was given."""
        return self._entry is None

    def give(self, entry: SlideEntry) -> None:
        """Keeps the slide for `wait`."""
        self._entry = entry

    def wait(self, seconds: float) -> list[Outcome[T]]:  # noqa: ARG002 - it takes what it takes
        """Does the slide that was given."""
        entry, self._entry = self._entry, None
        if entry is None:
            return []
        return [attempt(entry, self._step, self.job.stage, self.job.work)]

    def close(self) -> None:
        """Nothing to end."""
