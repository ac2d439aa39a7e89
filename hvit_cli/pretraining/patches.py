"""Tissue patches straight from their slides, by several threads."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import numpy as np
import numpy.typing as npt

from hvit_cli.pretraining.pool import PatchPool
from hvit_cli.settings import ReadingSettings
from hvit_cli.slides.reader import Slide, open_slide

Rgb = npt.NDArray[np.uint8]

OPEN_SLIDES = 96
"""Slides kept open that nobody reads at the moment."""


class PatchReader(Protocol):
    """Pixels of the patches of a pool, safe to use from several threads."""

    pool: PatchPool

    def read(self, patch: int) -> Rgb:
        """(patch_px, patch_px, 3) pixels.

        Raises:
            SlideError: The slide or these pixels of it cannot be read.
        """
        ...

    def close(self) -> None:
        """Lets go of files."""
        ...


class SlidePatches:
    """Reads patches from slides, of which a bounded number stays open.

    A slide is read by one thread at a time: a thread takes an open slide that nobody reads,
    or opens one, and puts it back. Those longest unused are closed.

    Args:
        pool: The patches.
        reading: How the slides were opened when their patches were found.
        open_slides: Most slides that stay open without being read.
    """

    def __init__(
        self, pool: PatchPool, reading: ReadingSettings, open_slides: int = OPEN_SLIDES
    ) -> None:
        self.pool = pool
        self._reading = reading
        self._most = open_slides
        self._lock = threading.Lock()
        # Idle slides by a number of their own, longest unused first.
        self._idle: OrderedDict[int, tuple[int, Slide]] = OrderedDict()
        self._count = 0

    def read(self, patch: int) -> Rgb:
        """See `PatchReader.read`."""
        number, inside = self.pool.locate(patch)
        entry = self.pool.slides[number]
        x, y = entry.origin_level0[inside]
        with self._borrowed(number) as slide:
            return slide.read_patch(entry.plan, (float(x), float(y)), self.pool.patch_px)

    def close(self) -> None:
        """Closes the slides that nobody reads."""
        with self._lock:
            idle, self._idle = self._idle, OrderedDict()
        for _, slide in idle.values():
            slide.close()

    @contextmanager
    def _borrowed(self, number: int) -> Iterator[Slide]:
        slide = self._taken(number)
        try:
            yield slide
        except BaseException:
            # Whatever state the file is in, the next reader of this slide starts afresh.
            slide.close()
            raise
        self._put_back(number, slide)

    def _taken(self, number: int) -> Slide:
        with self._lock:
            key = next((key for key, (n, _) in self._idle.items() if n == number), None)
            if key is not None:
                return self._idle.pop(key)[1]
        entry = self.pool.slides[number]
        return open_slide(
            entry.path,
            self._reading,
            slide_id=entry.slide_id,
            manifest_spacing_um=entry.manifest_spacing_um,
        )

    def _put_back(self, number: int, slide: Slide) -> None:
        with self._lock:
            self._count += 1
            self._idle[self._count] = (number, slide)
            surplus = [
                self._idle.popitem(last=False)[1][1]
                for _ in range(max(0, len(self._idle) - self._most))
            ]
        for closing in surplus:
            closing.close()
