"""What a run does to each slide, in a form that can travel to other processes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from hvit_cli.engine.attempt import Step
from hvit_cli.slides.entry import SlideEntry
from hvit_cli.steps.watch import Watch
from hvit_cli.storage.work import WorkFolder

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class SlideJob(ABC, Generic[T]):
    """The settings of a step; each process opens it once and applies it to many slides.

    Attributes:
        stage: Name of the stage, in the status log and the claims.
        work: The work folder.
    """

    stage: ClassVar[str]

    work: WorkFolder

    @property
    def at_once(self) -> int:
        """Slides that one process may work on at a time, in threads.

        More than one pays for steps that read a slide and then compute, if they share what
        computes (`steps.patch_stream`) and nothing else that changes.
        """
        return 1

    @abstractmethod
    def open(self) -> Step[T]:
        """Loads what the step needs (models, encoders) and returns it.

        Raises:
            HvitError: The step can be done on no slide at all.
        """

    def open_watched(self, watch: Watch) -> Step[T]:  # noqa: ARG002
        """Opens the job for somebody who is told how far each slide is.

        A job that tells nothing leaves this as it is.
        """
        return self.open()

    def light(self, product: T) -> T:
        """What of a product is sent to the process that asked; big arrays are in files."""
        return product

    def asked(self) -> dict[str, Any] | None:
        """Everything but the slide that decides its product, as plain values.

        None where an unchanged product is not told from others by its files.
        """
        return None

    def made(self, entry: SlideEntry, product: T) -> tuple[Path, ...]:  # noqa: ARG002
        """Files that must be unchanged for the slide to be done: its masks, and what came of it."""
        return ()
