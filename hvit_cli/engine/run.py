"""One step over many slides: a bad slide is a record, and the others go on."""

from __future__ import annotations

import dataclasses
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from hvit_cli.errors import HvitError
from hvit_cli.slides.manifest import SlideEntry
from hvit_cli.storage.atomic import write_text
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
        product: What the step returned; None for a failed slide.
    """

    number: int
    total: int
    row: StatusRow
    product: T | None


Step = Callable[[SlideEntry], tuple[StatusRow, T]]


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
            started = time.perf_counter()
            product: T | None
            try:
                row, product = step(entry)
            except HvitError as error:
                # An error that does not know its place happened on this slide.
                reason = str(error) if error.where is not None else f"{entry.path}: {error}"
                row, product = _failed(entry, stage, reason), None
            except Exception as error:
                # A bug, or a library's own complaint: the slide fails by name and the
                # traceback is kept, because the run must reach the slides behind it.
                trace = work.traceback(entry.slide_id, stage)
                write_text(trace, traceback.format_exc())
                reason = f"unexpected {type(error).__name__}: {error} (traceback in {trace})"
                row, product = _failed(entry, stage, " ".join(reason.split())), None
            row = dataclasses.replace(row, seconds=round(time.perf_counter() - started, 3))
            log.append(row)
            yield SlideRecord(number=number, total=len(entries), row=row, product=product)
    finally:
        if log.path.exists():
            log.write_table()


def _failed(entry: SlideEntry, stage: str, reason: str) -> StatusRow:
    return StatusRow(
        slide_id=entry.slide_id, path=str(entry.path), stage=stage, status="failed", reason=reason
    )
