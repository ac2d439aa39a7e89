"""What a run does to each slide, in a form that can travel to other processes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

from hvit_cli.engine.attempt import Step
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

    @abstractmethod
    def open(self) -> Step[T]:
        """Loads what the step needs (models, encoders) and returns it.

        Raises:
            HvitError: The step can be done on no slide at all.
        """

    def light(self, product: T) -> T:
        """What of a product is sent to the process that asked; big arrays are in files."""
        return product
