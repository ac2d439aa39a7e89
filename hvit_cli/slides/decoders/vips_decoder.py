"""Pixels through libvips' TIFF loader, some eight times faster than OpenSlide and equal to it."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyvips

from hvit_cli.slides.decoders.base import Rgb
from hvit_cli.slides.decoders.openslide_decoder import OpenSlideDecoder
from hvit_cli.slides.tiff import TiffDirectory

# libvips sends its chatter through Python's logging, which prints it where nobody listens.
logging.getLogger("pyvips").addHandler(logging.NullHandler())
# The cache would hand one opened image to two readers; see `_fetch` for why that is harmful.
pyvips.cache_set_max(0)

# Rows fetched in one go: larger blocks are slower (measured), their memory being touched cold.
_STRIP_PX = 256
_SAMPLE_PX = 64

_NONE, _LZW, _JPEG, _DEFLATE, _OLD_DEFLATE = 1, 5, 7, 8, 32946
_COMPRESSIONS = {_NONE, _LZW, _JPEG, _DEFLATE, _OLD_DEFLATE}
_RGB, _YCBCR = 2, 6
_CONTIGUOUS = 1
# Formats whose OpenSlide levels are plain TIFF pages, without shifts or padding.
_VENDORS = {"aperio", "generic-tiff"}


class VipsDecoder:
    """Reads the pages of a tiled TIFF with libvips, and asks OpenSlide wherever it stumbles.

    OpenSlide says what the slide is; this class only brings its pixels faster.
    """

    def __init__(self, path: Path, pages: tuple[int, ...], standby: OpenSlideDecoder) -> None:
        self._path = path
        self._pages = pages
        self._standby = standby
        self._regions: dict[int, pyvips.Region] = {}
        self.name = "libvips"
        self.keeps_tiles = False
        self.vendor = standby.vendor
        self.sizes = standby.sizes
        self.downsamples = standby.downsamples
        self.properties = standby.properties

    def is_exact(self, level: int) -> bool:
        """Always true of stored pixels, on every level."""
        return 0 <= level < len(self.sizes)

    def read(
        self,
        level: int,
        xy_px: tuple[int, int],
        size_px: tuple[int, int],
        out: Rgb | None = None,
    ) -> Rgb:
        """See `Decoder.read`."""
        (x, y), (width, height) = xy_px, size_px
        pixels = np.empty((height, width, 3), np.uint8) if out is None else out
        for top in range(0, height, _STRIP_PX):
            rows = min(_STRIP_PX, height - top)
            strip = self._fetch(level, x, y + top, width, rows)
            if strip is None:
                # The complaint may have been about another thread's slide.
                strip = self._fetch(level, x, y + top, width, rows)
            if strip is None:
                # OpenSlide takes every JPEG warning for an error, and raises PixelError.
                strip = self._standby.read(level, (x, y + top), (width, rows))
            pixels[top : top + rows] = strip
        return pixels

    def _fetch(self, level: int, x: int, y: int, width: int, height: int) -> Rgb | None:
        """The rectangle, or nothing where libvips failed or its JPEG library complained.

        libvips paints a tile with a broken bit stream grey, raises nothing whatever its
        `fail_on` says, and keeps the grey tile. The complaint reaches its error buffer only,
        which all threads share; so any complaint during a read makes that read doubtful, and
        the image with its tiles is dropped.
        """
        before = _complaints.count()
        try:
            buffer = self._region(level).fetch(x, y, width, height)
        except pyvips.Error:
            _complaints.add()
            self._regions.pop(level, None)
            return None
        if _complaints.count() != before:
            self._regions.pop(level, None)
            return None
        return np.frombuffer(buffer, np.uint8).reshape(height, width, 3)

    def agrees(self) -> bool:
        """Whether libvips and OpenSlide see the same at the slide's centre.

        A TIFF may declare colours that its JPEG tiles do not have, and each library then
        guesses on its own.
        """
        (width, height) = self.sizes[0]
        size = (min(width, _SAMPLE_PX), min(height, _SAMPLE_PX))
        x, y = (width - size[0]) // 2, (height - size[1]) // 2
        sample = self._fetch(0, x, y, *size)
        return sample is not None and np.array_equal(sample, self._standby.read(0, (x, y), size))

    def _region(self, level: int) -> pyvips.Region:
        region = self._regions.get(level)
        if region is None:
            image = pyvips.Image.tiffload(str(self._path), page=self._pages[level], fail_on="error")
            found = (image.width, image.height, image.bands, image.format)
            if found != (*self.sizes[level], 3, "uchar"):
                raise pyvips.Error(f"page {self._pages[level]} is not level {level}: {found}")
            region = self._regions[level] = pyvips.Region.new(image)
        return region

    def read_squares(self, _level: int, _xy_px: npt.NDArray[np.int64], _out: Rgb, /) -> bool:
        """Never: nothing of one square is kept for the next."""
        return False

    def twin(self) -> VipsDecoder:
        """See `Decoder.twin`."""
        return VipsDecoder(self._path, self._pages, self._standby.twin())

    def close(self) -> None:
        """See `Decoder.close`."""
        self._regions.clear()
        self._standby.close()


class _Complaints:
    """Counts the messages in libvips' error buffer, which all threads of a process share.

    Whoever looks first empties the buffer and raises the count, so that a reader in another
    thread still sees that something was said while it read.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0

    def count(self) -> int:
        with self._lock:
            if pyvips.ffi.string(pyvips.vips_lib.vips_error_buffer()):
                pyvips.vips_lib.vips_error_clear()
                self._count += 1
            return self._count

    def add(self) -> None:
        with self._lock:
            self._count += 1


_complaints = _Complaints()


def pages_of_levels(
    sizes: tuple[tuple[int, int], ...], vendor: str, directories: tuple[TiffDirectory, ...]
) -> tuple[int, ...] | None:
    """The TIFF page of each level, or nothing where pixels may differ or be missing.

    Thumbnail, label and macro pages lie between the levels of an SVS; a page is a level's
    when it alone has that level's size.
    """
    if vendor not in _VENDORS:
        return None
    pages = []
    for size in sizes:
        matches = [i for i, d in enumerate(directories) if d.size == size and d.is_tiled]
        if len(matches) != 1 or not _is_plain_rgb(directories[matches[0]]):
            return None
        pages.append(matches[0])
    return tuple(pages)


def _is_plain_rgb(directory: TiffDirectory) -> bool:
    return (
        directory.compression in _COMPRESSIONS
        and directory.photometric in {_RGB, _YCBCR}
        and directory.planar == _CONTIGUOUS
        and directory.bits == (8, 8, 8)
        and not directory.has_missing_tiles
    )
