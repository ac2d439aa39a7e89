"""Batches of crops, read and augmented by threads while the network computes.

Threads suffice because all heavy work (decoding, resizing, colours) happens in libraries that
release Python's lock. Results do not depend on their number: every random number is a function
of (seed, step, position in the batch), and every patch is written to its own place.

A patch that cannot be read is replaced by another of the pool, drawn for its step and position;
its slide is named in `skipped`. What can be read of a damaged slide is used all the same, so
that a batch depends on the files alone and not on what was read before it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from hvit_cli.errors import PixelError, SlideError, StorageError, UsageError
from hvit_cli.pretraining.augment import Augmentation
from hvit_cli.pretraining.draws import Purpose, generator
from hvit_cli.pretraining.order import PatchOrder
from hvit_cli.pretraining.patches import PatchReader
from hvit_cli.pretraining.views import CropBatch
from hvit_cli.training.workers import ALONE, Workers

Rgb = npt.NDArray[np.uint8]

REPLACEMENTS = 64
"""Patches tried in place of one that cannot be read, before the run gives up."""
_CHUNK = 8
_STEPS_AHEAD = 2


@dataclass
class _Pending:
    """A step whose crops are being drawn."""

    room: tuple[Rgb, ...]
    size: int
    parts: list[Future[None]]


class PatchLoader:
    """Crops of tissue patches, batch by batch: the source of a patch encoder's pretraining.

    Args:
        reader: Where pixels come from.
        order: Which patches make which batch.
        augmentation: What becomes of them.
        batch: Patches of a step, all processes together.
        workers: This process and its companions.
        threads: Threads that read and augment.

    Raises:
        UsageError: There are fewer patches than a batch takes.
    """

    def __init__(
        self,
        reader: PatchReader,
        order: PatchOrder,
        augmentation: Augmentation,
        *,
        batch: int,
        workers: Workers = ALONE,
        threads: int = 1,
    ) -> None:
        if len(reader.pool) < batch:
            raise UsageError(
                "there are too few tissue patches for a batch",
                where="--batch",
                found=f"{len(reader.pool)} patches on {len(reader.pool.slides)} slides",
                wanted=f"at least {batch}",
                hint="a smaller --batch, or more slides",
            )
        self._reader, self._order, self._augmentation = reader, order, augmentation
        self._batch = batch
        self._places = [int(place) for place in workers.share(range(batch))]
        self._skipped: dict[str, str] = {}
        self._replaced: dict[str, int] = {}
        self._lock = threading.Lock()
        # OpenCV's own threads would compete with these, and with the network's.
        self._opencv_threads = cv2.getNumThreads()
        cv2.setNumThreads(1)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="hvit-crops")

    def __len__(self) -> int:
        return len(self._reader.pool)

    @property
    def skipped(self) -> Mapping[str, str]:
        """Slides of which a patch could not be read, and the first reason."""
        return dict(self._skipped)

    @property
    def replaced(self) -> Mapping[str, int]:
        """How many patches of each of these slides were replaced so far."""
        return dict(self._replaced)

    def batches(self, steps: range) -> Iterator[CropBatch]:
        """Yields this process's share of the batch of each step.

        Raises:
            PixelError: Hardly any patch of the pool can be read.
        """
        waiting: deque[_Pending] = deque()
        try:
            for step in steps:
                waiting.append(self._begin(step))
                if len(waiting) > _STEPS_AHEAD:
                    yield self._finish(waiting.popleft())
            while waiting:
                yield self._finish(waiting.popleft())
        finally:
            for pending in waiting:
                for part in pending.parts:
                    part.cancel()

    def close(self) -> None:
        """Ends the threads and closes the slides."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._reader.close()
        cv2.setNumThreads(self._opencv_threads)

    def _begin(self, step: int) -> _Pending:
        patches = self._order.patches(step * self._batch, self._batch)
        room = self._augmentation.empty(len(self._places))
        parts = [
            self._pool.submit(self._fill, room, first, step, patches)
            for first in range(0, len(self._places), _CHUNK)
        ]
        return _Pending(room=room, size=len(self._places), parts=parts)

    def _finish(self, pending: _Pending) -> CropBatch:
        for part in pending.parts:
            part.result()
        return self._augmentation.batch(pending.room, pending.size)

    def _fill(
        self, room: Sequence[Rgb], first: int, step: int, patches: npt.NDArray[np.int64]
    ) -> None:
        places = self._places[first : first + _CHUNK]
        pixels = [self._read(step, place, int(patches[place])) for place in places]
        self._augmentation.fill(room, first, pixels, step, places)

    def _read(self, step: int, place: int, patch: int) -> Rgb:
        """The pixels of a patch, or of the first readable one drawn in its stead."""
        try:
            return self._reader.read(patch)
        except (SlideError, StorageError) as error:
            self._note(patch, error)
        others = generator(self._order.seed, Purpose.REPLACEMENT, step, place)
        for other in others.integers(len(self), size=REPLACEMENTS):
            try:
                return self._reader.read(int(other))
            except (SlideError, StorageError) as error:
                self._note(int(other), error)
        raise PixelError(
            f"none of {REPLACEMENTS + 1} patches drawn could be read",
            found=next(iter(self._skipped.values())),
            hint="a look at the disk with the slides; the run can be resumed",
        )

    def _note(self, patch: int, error: Exception) -> None:
        slide = self._reader.pool.slides[self._reader.pool.locate(patch)[0]].slide_id
        with self._lock:
            self._skipped.setdefault(slide, str(error))
            self._replaced[slide] = self._replaced.get(slide, 0) + 1
