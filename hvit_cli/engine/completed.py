"""Products of slides that other processes did, for whoever makes a table of all of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

from hvit_cli.engine.attempt import Step, attempt
from hvit_cli.engine.job import SlideJob
from hvit_cli.engine.run import SlideRecord
from hvit_cli.slides.entry import SlideEntry

T = TypeVar("T")


def with_products(
    records: Iterable[SlideRecord[T]], job: SlideJob[T], entries: Sequence[SlideEntry]
) -> Iterator[SlideRecord[T]]:
    """Adds what is missing to records of slides that other processes did.

    The step is done here as well, which is quick where it finds what the other stored; what
    the other made with other settings is made here with ours. The log keeps the other's line.

    Args:
        records: The records of a run.
        job: What was done; opened when the first product is missing.
        entries: The slides of the run.

    Raises:
        HvitError: The job can be done on no slide.
    """
    entry_of = {entry.slide_id: entry for entry in entries}
    step: Step[T] | None = None
    for record in records:
        if not record.is_elsewhere or record.row.status == "failed":
            yield record
            continue
        step = step or job.open()
        outcome = attempt(entry_of[record.row.slide_id], step, job.stage, job.work)
        row = outcome.row if outcome.product is None else record.row
        yield replace(record, row=row, product=outcome.product)
