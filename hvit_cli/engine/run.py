"""One step over many slides in this process: a bad slide is a record, and the others go on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from hvit_cli.engine.attempt import Step, attempt
from hvit_cli.slides.manifest import SlideEntry
from hvit_cli.storage.status import StatusLog, StatusRow
from hvit_cli.storage.work import WorkFolder

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class SlideRecord(Generic[T]):
    """What became of one slide.

    Attributes:
        number: Position in the run, 1 first.
        total: Slides in the run.
        row: The line that went to the status log.
        product: What the step returned; None for a failed slide, and for one that another
            process did.
        is_elsewhere: Whether another process did the slide.
    """

    number: int
    total: int
    row: StatusRow
    product: T | None
    is_elsewhere: bool = False


def run_slides(
    entries: Sequence[SlideEntry],
    step: Step[T],
    *,
    stage: str,
    work: WorkFolder,
    log: StatusLog | None = None,
) -> Iterator[SlideRecord[T]]:
    """Applies `step` to every slide in turn and yields a record for each.

    Every outcome is appended to the status log before its record is yielded, and the merged
    `status.csv` is written when the run ends, also when it is interrupted.

    Args:
        entries: The slides, in the order in which they are done.
        step: Makes one slide's product; returns its status row (times are filled in here)
            and the product.
        stage: Name of the stage, for the rows of slides that fail.
        work: The work folder.
        log: The status log; a new one of this process by default.
    """
    log = log or StatusLog(work.path)
    try:
        for number, entry in enumerate(entries, start=1):
            outcome = attempt(entry, step, stage, work)
            log.append(outcome.row, outcome.cause)
            yield SlideRecord(
                number=number, total=len(entries), row=outcome.row, product=outcome.product
            )
    finally:
        if log.path.exists():
            log.write_table()
