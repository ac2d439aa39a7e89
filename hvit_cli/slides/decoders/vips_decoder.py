"""Pixels through libvips' TIFF loader, some eight times faster than OpenSlide and equal to it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyvips

from hvit_cli.slides.decoders.base import Decoder, Rgb, undecodable
from hvit_cli.slides.tiff import TiffDirectory

# libvips sends its chatter through Python's logging, which prints it where nobody listens.
logging.getLogger("pyvips").addHandler(logging.NullHandler())
# The cache would hand one opened image to two readers; see `_fetch` for why that is harmful.
pyvips.cache_set_max(0)

# Rows fetched in one go: larger blocks are slower (measured), their memory being touched cold.
_STRIP_PX = 256
# A complaint of another thread's read will hardly fall into so many reads in a row.
_ATTEMPTS = 3

_NONE, _LZW, _JPEG, _DEFLATE, _OLD_DEFLATE = 1, 5, 7, 8, 32946
_COMPRESSIONS = {_NONE, _LZW, _JPEG, _DEFLATE, _OLD_DEFLATE}
_RGB, _YCBCR = 2, 6
_CONTIGUOUS = 1
# Formats whose OpenSlide levels are plain TIFF pages, without shifts or padding.
_VENDORS = {"aperio", "generic-tiff"}


class VipsDecoder:
    """Reads the pages of a tiled TIFF with libvips, and asks OpenSlide wherever it stumbles.

    OpenSlide says what the slide is; this class only brings its pixels faster. The few sound
    TIFFs that OpenSlide does not open (OME-TIFFs of Bio-Formats among them) have no standby.
    """

    def __init__(
        self, path: Path, pages: tuple[int, ...], described_by: Decoder | TiffDescription
    ) -> None:
        self._path = path
        self._pages = pages
        self._standby = None if isinstance(described_by, TiffDescription) else described_by
        self._regions: dict[int, pyvips.Region] = {}
        self.name = "libvips"
        self.vendor = described_by.vendor
        self.sizes = described_by.sizes
        self.downsamples = described_by.downsamples
        self.properties = described_by.properties

    def is_exact(self, level: int) -> bool:
        """Always true of stored pixels, on every level."""
        return 0 <= level < len(self.sizes)

    def read(self, level: int, xy_px: tuple[int, int], size_px: tuple[int, int]) -> Rgb:
        """See `Decoder.read`."""
        (x, y), (width, height) = xy_px, size_px
        pixels = np.empty((height, width, 3), np.uint8)
        for top in range(0, height, _STRIP_PX):
            rows = min(_STRIP_PX, height - top)
            strip = self._fetch(level, x, y + top, width, rows)
            if strip is None:
                strip = self._second_opinion(level, (x, y + top), (width, rows))
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
        except pyvips.Error as error:
            _complaints.add(error)
            self._regions.pop(level, None)
            return None
        if _complaints.count() != before:
            self._regions.pop(level, None)
            return None
        return np.frombuffer(buffer, np.uint8).reshape(height, width, 3)

    def _second_opinion(self, level: int, xy_px: tuple[int, int], size_px: tuple[int, int]) -> Rgb:
        """The rectangle through OpenSlide, which takes every JPEG warning for an error."""
        if self._standby is not None:
            return self._standby.read(level, xy_px, size_px)
        for _ in range(_ATTEMPTS):
            strip = self._fetch(level, *xy_px, *size_px)
            if strip is not None:
                return strip
        raise undecodable(self._path, level, xy_px, size_px, _complaints.latest)

    def _region(self, level: int) -> pyvips.Region:
        region = self._regions.get(level)
        if region is None:
            image = _page(self._path, self._pages[level])
            found = (image.width, image.height, image.bands, image.format)
            if found != (*self.sizes[level], 3, "uchar"):
                raise pyvips.Error(f"page {self._pages[level]} is not level {level}: {found}")
            region = self._regions[level] = pyvips.Region.new(image)
        return region

    def close(self) -> None:
        """See `Decoder.close`."""
        self._regions.clear()
        if self._standby is not None:
            self._standby.close()


@dataclass(frozen=True, kw_only=True)
class TiffDescription:
    """What OpenSlide would say of a TIFF that it does not open, under the same names."""

    vendor: str
    sizes: tuple[tuple[int, int], ...]
    downsamples: tuple[float, ...]
    properties: Mapping[str, str]


def open_alone(path: Path, directories: tuple[TiffDirectory, ...]) -> VipsDecoder | None:
    """Opens a tiled TIFF that OpenSlide does not know; nothing where that is not safe.

    The first page is level 0; the tiled pages after it with the same proportions are its
    levels. A file of several pages of the first one's size is a stack, and no slide.
    """
    first = directories[0]
    pages = [0]
    for page, directory in enumerate(directories[1:], start=1):
        if directory.size == first.size:
            return None
        if directory.is_tiled and _is_reduction(directory.size, directories[pages[-1]].size):
            pages.append(page)
    if not all(directories[p].is_tiled and _is_plain_rgb(directories[p]) for p in pages):
        return None
    try:
        properties = _described(_page(path, 0))
    except pyvips.Error:
        return None
    sizes = tuple(directories[page].size for page in pages)
    (width, height) = first.size
    description = TiffDescription(
        vendor="generic-tiff",
        sizes=sizes,
        downsamples=tuple((width / w + height / h) / 2 for w, h in sizes),
        properties=properties,
    )
    return VipsDecoder(path, tuple(pages), description)


def _is_reduction(size: tuple[int, int], of: tuple[int, int]) -> bool:
    """Whether a page shows another one reduced: both sides by one factor, up to a pixel."""
    factor = of[0] / size[0]
    return factor > 1 and abs(of[1] / factor - size[1]) <= 1


def _described(image: pyvips.Image) -> dict[str, str]:
    # libvips has made pixels per millimetre of the resolution tags, whatever their unit.
    properties = {
        "tiff.ResolutionUnit": "centimeter",
        "tiff.XResolution": repr(image.xres * 10),
        "tiff.YResolution": repr(image.yres * 10),
    }
    if "image-description" in image.get_fields():
        properties["tiff.ImageDescription"] = str(image.get("image-description"))
    return properties


def _page(path: Path, page: int) -> pyvips.Image:
    return pyvips.Image.tiffload(str(path), page=page, fail_on="error")


class _Complaints:
    """Counts the messages in libvips' error buffer, which all threads of a process share.

    Whoever looks first empties the buffer and raises the count, so that a reader in another
    thread still sees that something was said while it read.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0
        self.latest = ""

    def count(self) -> int:
        with self._lock:
            text = pyvips.ffi.string(pyvips.vips_lib.vips_error_buffer())
            if text:
                pyvips.vips_lib.vips_error_clear()
                self.latest = text.decode(errors="replace")
                self._count += 1
            return self._count

    def add(self, error: pyvips.Error) -> None:
        with self._lock:
            self.latest = str(error)
            self._count += 1


_complaints = _Complaints()


def pages_of_levels(
    sizes: tuple[tuple[int, int], ...], vendor: str, directories: tuple[TiffDirectory, ...]
) -> tuple[int, ...] | None:
    """The TIFF page of each level, or nothing where libvips' pixels may differ or be missing.

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
