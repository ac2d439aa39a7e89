"""A job over many slides: shared, guarded, tried again, and every slide accounted for."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Generic, TypeVar

from hvit_cli.engine.attempt import PASSING, Outcome, failed_row
from hvit_cli.engine.claims import Claims, alone
from hvit_cli.engine.elsewhere import Elsewhere
from hvit_cli.engine.job import SlideJob
from hvit_cli.engine.limits import default_jobs
from hvit_cli.engine.overlapping import Overlapping
from hvit_cli.engine.processes import Processes
from hvit_cli.engine.quarantine import Failures, failures, unchanged_since
from hvit_cli.engine.receipts import receipt_of, unchanged
from hvit_cli.engine.run import SlideRecord
from hvit_cli.engine.shards import shard_named
from hvit_cli.engine.workers import InProcess, Workers
from hvit_cli.settings.running import RunSettings
from hvit_cli.slides.entry import SlideEntry
from hvit_cli.steps.watch import Watch
from hvit_cli.storage.atomic import require_writable
from hvit_cli.storage.plan import record_plan
from hvit_cli.storage.status import StatusLog, StatusRow
from hvit_cli.storage.work import WorkFolder

T = TypeVar("T")

_LOG = logging.getLogger(__name__)
_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 8.0

UNCHANGED = "reused, unchanged"
"""Reason in the record of a slide whose files were not opened."""

CLAIMS = "claims"
"""Folder of a work folder that holds a folder of claims for each stage."""

ALONE = RunSettings(jobs=1, verify=True)
"""One slide after another in this process, with its product: what a Python program gets unless it
asks."""


def run_job(
    entries: Sequence[SlideEntry],
    job: SlideJob[T],
    running: RunSettings = ALONE,
    watch: Watch | None = None,
) -> Iterator[SlideRecord[T]]:
    """Does a job on every slide and yields a record for each, in the order in which they end.

    Every try is appended to the status log before its record is yielded; `status.csv` is
    written when the run ends, also when it is interrupted. Records of slides that other
    processes did on the same folder have no product.

    Args:
        entries: The slides.
        job: What is done to each.
        running: How the slides are spread, guarded and shared.
        watch: Told now and then how far the slides are that are being done on this machine, by
            whichever thread does them.

    Raises:
        HvitError: The job can be done on no slide, or nothing can be written to the work folder.
    """
    shard = shard_named(running.shard)
    require_writable(job.work.path)
    record_plan(job.work.path, job.stage, entries)
    mine = shard.of(entries) if shard else list(entries)
    if not mine:
        return
    run = _Run(mine, job, running, shard.name if shard else "main", watch)
    try:
        yield from run.records()
    finally:
        run.close()


class _Run(Generic[T]):
    """The slides of one run: those to do, those that others have, and those that are told."""

    def __init__(
        self,
        entries: Sequence[SlideEntry],
        job: SlideJob[T],
        running: RunSettings,
        name: str,
        watch: Watch | None,
    ) -> None:
        self.entries, self.job, self.running, self.watch = entries, job, running, watch
        self.told = 0
        self.log = StatusLog(job.work.path, shard=name)
        self.elsewhere = Elsewhere(job.work.path, job.stage, self.log.path)
        self.tries_left = dict.fromkeys((e.slide_id for e in entries), running.retries + 1)
        self.queue: deque[SlideEntry] = deque()
        self.with_others: deque[SlideEntry] = deque()
        self.workers: Workers[T] | None = None
        self.claims: Claims | None = None

    def records(self) -> Iterator[SlideRecord[T]]:
        yield from self._told_at_once()
        if not self.queue:
            return
        workers = self.workers = _workers(self.job, self.running, len(self.queue), self.watch)
        if self.running.claim and len(self.entries) > 1:
            folder = self.job.work.path / CLAIMS / self.job.stage
            self.claims = Claims(folder, self.running.claim_ttl)
        busy, pause_s = 0, _SHORTEST_PAUSE_S
        while self.queue or busy or self.with_others:
            while self.queue and workers.is_free():
                entry = self.queue.popleft()
                if self.claims is not None and not self.claims.take(entry.slide_id):
                    self.with_others.append(entry)
                    continue
                pause_s = _SHORTEST_PAUSE_S
                told = self._done_elsewhere(entry)
                if told is not None:
                    yield told
                else:
                    workers.give(entry)
                    busy += 1
            for outcome in workers.wait(pause_s):
                busy -= 1
                yield from self._ended(outcome)
            if self.with_others and not self.queue:
                if not busy:
                    self._say_whom_it_waits_for(pause_s)
                    time.sleep(pause_s)
                    pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
                self.queue, self.with_others = self.with_others, self.queue

    def close(self) -> None:
        """Ends the workers, gives the claims back and merges the logs."""
        if self.workers is not None:
            self.workers.close()
        if self.claims is not None:
            self.claims.close()
        # A run that was killed may have left the table to one that has nothing else to do.
        if self.log.path.exists() or self.log.is_table_behind():
            with one_at_a_time(self.job.work, "status"):
                self.log.write_table()

    def _told_at_once(self) -> Iterator[SlideRecord[T]]:
        """Queues the slides, but for those that are done or failed as often as they may."""
        known: dict[str, Failures] = {}
        # Who names a single slide wants it tried.
        if not self.running.retry_failed and len(self.entries) > 1:
            every = failures(self.job.work.path, self.job.stage)
            known = unchanged_since(self.entries, every)
        done = {} if self.running.verify else unchanged(self.entries, self.job)
        if done:
            _LOG.info(
                "%d slides are done, and neither they nor their files were changed since", len(done)
            )
        for entry in self.entries:
            if entry.slide_id in done:
                # Not logged again: the line it is told by is in a log.
                told = replace(done[entry.slide_id], reason=UNCHANGED, seconds=0.0)
                yield self._record(told)
                continue
            failed = known.get(entry.slide_id)
            if failed is not None:
                self.tries_left[entry.slide_id] -= failed.count
            if failed is None or self.tries_left[entry.slide_id] > 0:
                self.queue.append(entry)
                continue
            reason = (
                f"quarantined after {failed.count} failed tries "
                f"(--retry-failed tries again): {failed.reason}"
            )
            # Not logged: the log keeps the tries themselves.
            yield self._record(failed_row(entry, self.job.stage, reason))

    def _ended(self, outcome: Outcome[T]) -> Iterator[SlideRecord[T]]:
        """Logs a try, and tells it or queues the slide for another."""
        slide_id = outcome.entry.slide_id
        receipt = None
        if outcome.product is not None:
            receipt = receipt_of(outcome.entry, self.job, outcome.product)
        self.log.append(outcome.row, outcome.cause, receipt)
        self.tries_left[slide_id] -= 1
        if outcome.cause in PASSING and self.tries_left[slide_id] > 0:
            _LOG.warning("%s will be tried again: %s", slide_id, outcome.row.reason)
            self._release(slide_id)
            self.queue.append(outcome.entry)
            return
        self._release(slide_id)
        yield self._record(outcome.row, outcome.product)

    def _done_elsewhere(self, entry: SlideEntry) -> SlideRecord[T] | None:
        """The record of a slide that another process has ended meanwhile, claim given back."""
        ended = self.elsewhere.ended(entry.slide_id) if self.claims is not None else None
        if ended is None or (ended.may_pass and ended.failures < self.running.retries + 1):
            return None
        self._release(entry.slide_id)
        return replace(self._record(ended.row), is_elsewhere=True)

    def _release(self, slide_id: str) -> None:
        if self.claims is not None:
            self.claims.release(slide_id)

    def _record(self, row: StatusRow, product: T | None = None) -> SlideRecord[T]:
        self.told += 1
        return SlideRecord(number=self.told, total=len(self.entries), row=row, product=product)

    def _say_whom_it_waits_for(self, pause_s: float) -> None:
        if pause_s == _SHORTEST_PAUSE_S and self.claims is not None:
            holders = {self.claims.holder(entry.slide_id) for entry in self.with_others}
            named = ", ".join(sorted(holder for holder in holders if holder))
            _LOG.info("%d slides are being done by %s", len(self.with_others), named or "others")


def one_at_a_time(work: WorkFolder, table: str) -> AbstractContextManager[None]:
    """Keeps other processes from writing a common table of a work folder meanwhile."""
    return alone(work.path / CLAIMS / "tables", table)


def _workers(
    job: SlideJob[T], running: RunSettings, slides: int, watch: Watch | None
) -> Workers[T]:
    if running.engine == "ray":
        from hvit_cli.engine.ray_engine import RayWorkers

        return RayWorkers(job, running, slides)
    count = min(running.jobs or default_jobs(slides), slides)
    # Only another process can be ended when it takes too long or too much.
    if count > 1 or running.timeout is not None or running.memory_limit is not None:
        return Processes(
            job,
            count,
            timeout_s=running.timeout,
            memory_gib=running.memory_limit,
            watch=watch,
        )
    return Overlapping(job, watch) if job.at_once > 1 and slides > 1 else InProcess(job, watch)
