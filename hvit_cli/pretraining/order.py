"""Which patches make the batch of a step.

The patches form one endless stream: pass after pass over the whole pool, every patch once in
each pass. Step s takes the stream's patches from s · batch on, so a batch depends on the seed
and the step alone, no patch is seen more often than another, and an epoch of any length goes on
where the last one ended.

A pass shuffles the slides, takes them in windows, and shuffles the patches of a window: the
slides of one window stay open while their patches are read. With as many slides in a window as
there are (the case of a cache, where opening costs nothing) a pass is a plain shuffle.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hvit_cli.pretraining.draws import Purpose, generator

WINDOW = 64
"""Slides whose patches are mixed while reading from slides."""

Numbers = npt.NDArray[np.int64]


class PatchOrder:
    """The stream of patch numbers.

    Args:
        first: (S + 1,) number of each slide's first patch, and of all patches.
        seed: The run's seed.
        window: Slides that are mixed; None mixes all.
    """

    def __init__(self, first: Numbers, seed: int, window: int | None = WINDOW) -> None:
        self._first = first
        self.seed = seed
        self._window = window or len(first)
        self._kept: tuple[int, Numbers] | None = None

    def __len__(self) -> int:
        return int(self._first[-1])

    def patches(self, start: int, count: int) -> Numbers:
        """(count,) patch numbers from position `start` of the stream on."""
        parts = []
        while count:
            number, offset = divmod(start, len(self))
            part = self.one_pass(number)[offset : offset + count]
            parts.append(part)
            start, count = start + len(part), count - len(part)
        return np.concatenate(parts) if parts else np.zeros(0, np.int64)

    def one_pass(self, number: int) -> Numbers:
        """A permutation of all patches."""
        if self._kept is None or self._kept[0] != number:
            self._kept = (number, self._drawn(number))
        return self._kept[1]

    def _drawn(self, number: int) -> Numbers:
        slides = generator(self.seed, Purpose.ORDER, number).permutation(len(self._first) - 1)
        windows = []
        for start in range(0, len(slides), self._window):
            chosen = slides[start : start + self._window]
            mixed = np.concatenate(
                [np.arange(self._first[s], self._first[s + 1], dtype=np.int64) for s in chosen]
            )
            generator(self.seed, Purpose.ORDER, number, 1 + start).shuffle(mixed)
            windows.append(mixed)
        return np.concatenate(windows)
