"""The slide's own pixels, tile by tile, for many requests at a time."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from hvit_cli.slides.decoders.base import Rgb
from hvit_cli.slides.reader import Slide
from hvit_cli.slides.reduction import reduce_area
from hvit_cli.viewer.pyramid import Pyramid, Tile

# A level this much coarser than a zoom still serves it: PANDA's levels are 4.0003 apart.
_SAME = 1.01
# Pixels are averaged from a level at most this much finer, if an overview has them.
_MOST_REDUCED = 4
_OVERVIEW_PX = 4096


class SlidePixels:
    """Reads tiles of one slide in several threads.

    A slide belongs to one thread at a time; so several are open, and a request waits for one.
    Zooms far coarser than any level come from one overview, read once.

    Args:
        open_one: Opens the slide.
        handles: Slides open at a time.
    """

    def __init__(self, open_one: Callable[[], Slide], *, handles: int = 4) -> None:
        self._open_one = open_one
        first = open_one()
        self.geometry = first.geometry
        self.pyramid = Pyramid(size_level0=first.geometry.size_level0)
        self._idle: queue.LifoQueue[Slide | None] = queue.LifoQueue()
        # A picture is held whole by its decoder: one of them is enough.
        for _ in range(1 if first.vendor == "picture" else handles):
            self._idle.put(None)
        self._idle.get()
        self._idle.put(first)
        self._overview: Rgb | None = None
        self._overview_lock = threading.Lock()

    @contextmanager
    def _slide(self) -> Iterator[Slide]:
        slide = self._idle.get()
        try:
            slide = slide or self._open_one()
            yield slide
        finally:
            self._idle.put(slide)

    def close(self) -> None:
        """Releases the file; a request that is being answered releases its own at its end."""
        while True:
            try:
                slide = self._idle.get_nowait()
            except queue.Empty:
                return
            if slide is not None:
                slide.close()

    def read(self, tile: Tile) -> Rgb:
        """(height, width, 3) RGB of a tile: means of the level-0 area behind each pixel.

        They come from the coarsest level that is fine enough, whose pixels are taken as they
        are where it has those of the zoom.

        Raises:
            PixelError: Some of the pixels cannot be decoded.
        """
        step = self.pyramid.level0_per_px(tile.zoom)
        downsamples = self.geometry.downsamples
        level = max(i for i, downsample in enumerate(downsamples) if downsample <= step * _SAME)
        if step / downsamples[level] > _MOST_REDUCED and self._in_overview(tile.zoom):
            return self._from_overview(tile)
        with self._slide() as slide:
            x, width = _source(tile, 0, downsamples[level])
            y, height = _source(tile, 1, downsamples[level])
            return reduce_area(slide.read_level(level, (x, y), (width, height)), tile.size_px)

    def _in_overview(self, zoom: int) -> bool:
        return max(self.pyramid.size_px(zoom)) <= _OVERVIEW_PX

    def _from_overview(self, tile: Tile) -> Rgb:
        zoom = max(z for z in range(self.pyramid.last_zoom + 1) if self._in_overview(z))
        with self._overview_lock:
            if self._overview is None:
                with self._slide() as slide:
                    self._overview = slide.thumbnail(max(self.pyramid.size_px(zoom)))
        height, width = self._overview.shape[:2]
        left, top, right, bottom = tile.box_level0
        x, y = width / self.geometry.size_level0[0], height / self.geometry.size_level0[1]
        part = self._overview[
            round(top * y) : max(round(bottom * y), round(top * y) + tile.size_px[1]),
            round(left * x) : max(round(right * x), round(left * x) + tile.size_px[0]),
        ]
        return reduce_area(_filled(part, tile.size_px), tile.size_px)


def _source(tile: Tile, axis: int, downsample: float) -> tuple[int, int]:
    """Where a tile's pixels begin in a level along x (axis 0) or y (axis 1), and how many."""
    first = round(tile.box_level0[axis] / downsample)
    count = round(tile.box_level0[axis + 2] / downsample) - first
    wanted = tile.size_px[axis]
    # The level's own pixels, unblurred, where rounding alone makes one more or fewer of them.
    return first, wanted if abs(count - wanted) <= 1 else count


def _filled(part: Rgb, size_px: tuple[int, int]) -> Rgb:
    """The part with its last row and column repeated where rounding left one out."""
    lacking = [max(0, size_px[1] - part.shape[0]), max(0, size_px[0] - part.shape[1])]
    return np.pad(part, ((0, lacking[0]), (0, lacking[1]), (0, 0)), mode="edge")
