"""One try of a step on one slide: whatever happens, it ends with a row, and why it failed."""

from __future__ import annotations

import dataclasses
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from hvit_cli.errors import HvitError, SlideError
from hvit_cli.slides.entry import SlideEntry
from hvit_cli.storage.atomic import write_text
from hvit_cli.storage.status import StatusRow
from hvit_cli.storage.work import WorkFolder

T = TypeVar("T")
Step = Callable[[SlideEntry], tuple[StatusRow, T]]

Cause = Literal["", "slide", "settings", "bug", "system", "memory", "killed", "timeout"]
"""Why a try failed: the slide itself, what it is combined with (settings, masks, models, a full
disk), a bug, a file that could not be read just then, or what ended its process. "" is success."""

PASSING: frozenset[Cause] = frozenset({"system", "memory", "killed", "timeout"})
"""Causes that another try may not meet."""

OWN: frozenset[Cause] = PASSING | {"slide", "bug"}
"""Causes that lie with the slide; one that fails as often as it may is left alone afterwards."""


@dataclass(frozen=True, kw_only=True)
class Outcome(Generic[T]):
    """How one try ended.

    Attributes:
        entry: The slide.
        row: Its line for the status log.
        product: What the step returned; None for a failure.
        cause: Why it failed; "" where it did not.
    """

    entry: SlideEntry
    row: StatusRow
    product: T | None
    cause: Cause = ""


def attempt(entry: SlideEntry, step: Step[T], stage: str, work: WorkFolder) -> Outcome[T]:
    """Applies a step to a slide once.

    A bug, or a library's own complaint, is a failure by name whose traceback is kept, because
    the run must reach the slides behind it.

    Args:
        entry: The slide.
        step: Makes its product.
        stage: Name of the stage, for the row of a failure.
        work: Where tracebacks are kept.
    """
    started = time.perf_counter()
    product: T | None = None
    cause: Cause = ""
    try:
        row, product = step(entry)
    except HvitError as error:
        # An error that does not know its place happened on this slide.
        reason = str(error) if error.where is not None else f"{entry.path}: {error}"
        row = failed_row(entry, stage, reason)
        cause = "slide" if isinstance(error, SlideError) else "settings"
    except MemoryError as error:
        row = failed_row(entry, stage, f"memory: {entry.path}: {error or 'none is left'}")
        cause = "memory"
    except Exception as error:
        trace = work.traceback(entry.slide_id, stage)
        told = f"traceback in {trace}"
        try:
            write_text(trace, traceback.format_exc())
        except HvitError as unwritten:
            told = f"its traceback {unwritten}"
        reason = f"unexpected {type(error).__name__}: {error} ({told})"
        row = failed_row(entry, stage, reason)
        cause = "system" if isinstance(error, OSError) else "bug"
    row = dataclasses.replace(row, seconds=round(time.perf_counter() - started, 3))
    return Outcome(entry=entry, row=row, product=product, cause=cause)


def failed_row(entry: SlideEntry, stage: str, reason: str, seconds: float = 0.0) -> StatusRow:
    """The line of a slide that failed, its reason on one line."""
    return StatusRow(
        slide_id=entry.slide_id,
        path=str(entry.path),
        stage=stage,
        status="failed",
        reason=" ".join(reason.split()),
        seconds=round(seconds, 3),
    )
