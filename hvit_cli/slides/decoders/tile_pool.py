"""Memory of decoded tiles, used again: fresh memory costs more than the copying it is for.

The system clears every page of new memory when it is first touched, which on a virtual machine
took a third of the time of decoding (docs/decisions/0010).
"""

from __future__ import annotations

import weakref

import numpy as np
import numpy.typing as npt

from hvit_cli.slides.decoders.base import Rgb


class TilePool:
    """Hands out memory for tiles and takes it back when nothing refers to a tile any more.

    Keeps idle memory for tiles of one size, that which was asked for last: slides of a cohort
    mostly have tiles of one size. Any thread may ask.

    Args:
        most_bytes: Bytes of idle memory kept.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._nbytes = 0
        self._idle: list[npt.NDArray[np.uint8]] = []

    def take(self, height: int, width: int) -> Rgb:
        """A tile's (height, width, 3) pixels, of any value."""
        nbytes = height * width * 3
        if nbytes != self._nbytes:
            # Lists are replaced, never searched: other threads may be using the one that was.
            self._nbytes, self._idle = nbytes, []
        try:
            memory = self._idle.pop()
        except IndexError:
            memory = np.empty(nbytes, np.uint8)
        if len(memory) != nbytes:
            memory = np.empty(nbytes, np.uint8)
        # Every slice of it refers to this array, not to the memory behind its buffer.
        held = np.frombuffer(memory.data, np.uint8)
        weakref.finalize(held, self._give_back, memory).atexit = False
        return held.reshape(height, width, 3)

    @property
    def idle_bytes(self) -> int:
        """Bytes that are kept and not in use."""
        return len(self._idle) * self._nbytes

    def _give_back(self, memory: npt.NDArray[np.uint8]) -> None:
        if len(memory) == self._nbytes and self.idle_bytes + len(memory) <= self._most_bytes:
            self._idle.append(memory)
