"""One stream of patches through the encoder, from however many slides are at hand.

Each slide is done by a thread of its own, from its first tile to its file, as if it were alone.
They meet here: patches of all slides wait in one line, the slide that came first in front, and
are taken in batches of one size, across the borders of slides. While one slide is embedded the
next is opened, segmented and read; while it is written the next is embedded. No thread belongs
to the stream: whichever slide has to wait for the encoder runs it, for all of them.

Features do not depend on the batch that a patch is in (`PatchEncoder.embed`), so they do not
depend on which slides met.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Rows = npt.NDArray[np.float16]
Bits = npt.NDArray[np.bool_]
Embed = Callable[..., npt.NDArray[np.float32]]
"""Pixels, and tokens that are seen where some are not, to features."""

_MOST_WAITING_BYTES = 128 * 2**20
"""Pixels of a slide that may wait for the encoder; beyond, its reading pauses."""

_PATIENCE_S = 0.5
"""For so long the end of a slide waits for the next one to fill its batch, the encoder idle."""


@dataclass(eq=False)
class _Line:
    """The patches of one slide.

    Attributes:
        tokens: (P, N) which tokens of all patches of the slide are seen; None for all.
        taken: Patches that went into the encoder.
        waiting: Pixels that wait for the encoder.
        running: Patches that are in it.
        rows: Features that came out of it and were not fetched.
        is_ended: Whether the slide has no more patches.
        error: Why its patches cannot be embedded.
    """

    tokens: Bits | None = None
    taken: int = 0
    waiting: deque[Pixels] = field(default_factory=deque)
    running: int = 0
    rows: list[Rows] = field(default_factory=list)
    is_ended: bool = False
    error: Exception | None = None

    @property
    def count(self) -> int:
        """Patches that wait."""
        return sum(map(len, self.waiting))

    def has_room(self, batch_size: int) -> bool:
        """Whether more may be read; a batch always may."""
        held = sum(pixels.nbytes for pixels in self.waiting)
        return held <= _MOST_WAITING_BYTES or self.count < 2 * batch_size

    def take(self, most: int) -> _Part | None:
        """Takes patches from the front; None where none wait."""
        taken = []
        while most and self.waiting:
            pixels = self.waiting.popleft()
            if len(pixels) > most:
                self.waiting.appendleft(pixels[most:])
                pixels = pixels[:most]
            taken.append(pixels)
            most -= len(pixels)
        if not taken:
            return None
        first, self.taken = self.taken, self.taken + sum(map(len, taken))
        tokens = None if self.tokens is None else self.tokens[first : self.taken]
        return _Part(np.concatenate(taken), tokens)


@dataclass(frozen=True)
class _Part:
    """Patches of one slide in a batch, and which of their tokens are seen; None for all."""

    pixels: Pixels
    tokens: Bits | None

    def __len__(self) -> int:
        return len(self.pixels)


class PatchStream:
    """An encoder that several slides share.

    Args:
        embed: (n, patch, patch, 3) pixels to (n, D) features; called by one thread at a time,
            with (n, N) tokens beside them where slides name those that are seen.
        batch_size: Patches per call; fewer only where no slide has more.
    """

    def __init__(self, embed: Embed, batch_size: int) -> None:
        self._embed = embed
        self._batch_size = batch_size
        self._changed = threading.Condition()
        self._lines: list[_Line] = []
        self._is_busy = False

    def features(
        self, patches: Iterable[Pixels], tokens: Bits | None = None
    ) -> Generator[Rows, None, None]:
        """Embeds the patches of one slide; to be used up, or closed, by the slide's thread.

        Args:
            patches: Some patches at a time, (n, patch, patch, 3).
            tokens: (P, N) which tokens of all P patches are seen; None for all. It is one or the
                other for all slides that share an encoder.

        Yields:
            (n, D) features in the same order, grouped in another way, rounded to float16.

        Raises:
            Exception: What reading raised, or the encoder on patches of this slide.
        """
        line = _Line(tokens)
        with self._changed:
            self._lines.append(line)
        try:
            for pixels in patches:
                self._add(line, pixels)
                while self._is_held_up(line):
                    yield from self._fetched(line)
                yield from self._fetched(line)
            self._end(line)
            while self._is_coming(line):
                yield from self._fetched(line)
        finally:
            with self._changed:
                self._lines.remove(line)
                self._changed.notify_all()

    def _add(self, line: _Line, pixels: Pixels) -> None:
        with self._changed:
            line.waiting.append(pixels)
            self._changed.notify_all()

    def _is_held_up(self, line: _Line) -> bool:
        """Embeds a full batch, or waits, unless a slide can go on reading; False when it can."""
        with self._changed:
            if not self._is_busy and self._is_batch():
                self._run()
                # The slide in front has nothing better to do; those behind it go on reading.
                return line is self._lines[0] or not line.has_room(self._batch_size)
            if line.has_room(self._batch_size):
                return False
            self._changed.wait()
            return True

    def _end(self, line: _Line) -> None:
        with self._changed:
            line.is_ended = True
            self._changed.notify_all()

    def _is_coming(self, line: _Line) -> bool:
        """Embeds, or waits, until there are features of a slide; False when it has all."""
        with self._changed:
            while not line.rows and line.error is None:
                if not line.count and not line.running:
                    return False
                if self._is_busy:
                    self._changed.wait()
                elif self._may_run():
                    self._run()
            return True

    def _may_run(self) -> bool:
        """Whether a batch is full, or nobody adds to it: ever, or for a while."""
        if self._is_batch() or all(line.is_ended for line in self._lines):
            return True
        return not self._changed.wait(_PATIENCE_S) and not self._is_busy

    def _fetched(self, line: _Line) -> list[Rows]:
        with self._changed:
            if line.error is not None:
                raise line.error
            rows, line.rows = line.rows, []
            return rows

    def _is_batch(self) -> bool:
        return sum(line.count for line in self._lines) >= self._batch_size

    def _run(self) -> None:
        """Embeds one batch from the front; the lock is held before and after, not meanwhile."""
        batch: list[tuple[_Line, _Part]] = []
        left = self._batch_size
        for line in self._lines:
            part = line.take(left)
            if part is not None:
                line.running = len(part)
                left -= line.running
                batch.append((line, part))
        self._is_busy = True
        self._changed.release()
        try:
            ended = self._embedded([part for _, part in batch])
        finally:
            self._changed.acquire()
            self._is_busy = False
            for line, _ in batch:
                line.running = 0
            self._changed.notify_all()
        for (line, _), rows in zip(batch, ended, strict=True):
            if isinstance(rows, Exception):
                line.error = rows
                line.waiting.clear()
            else:
                line.rows.append(rows)

    def _embedded(self, parts: list[_Part]) -> list[Rows | Exception]:
        """The features of each slide's patches, or why it has none."""
        try:
            pixels = np.concatenate([part.pixels for part in parts])
            tokens = [part.tokens for part in parts if part.tokens is not None]
            beside = (np.concatenate(tokens),) if tokens else ()
            rows = np.asarray(self._embed(pixels, *beside), np.float16)
        except Exception as error:
            if len(parts) == 1:
                return [error]
            # One slide's failure is not its neighbour's.
            return [one for part in parts for one in self._embedded([part])]
        return list(np.split(rows, np.cumsum([len(part) for part in parts])[:-1]))
