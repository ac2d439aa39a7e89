"""The stored JPEG tiles of a slide under some rectangles, for the JPEG library alone."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import simplejpeg

from hvit_cli.errors import UnreadableSlideError
from hvit_cli.slides.decoders.jpeg_stream import OddJpegError, prefix_of_tiles, whole_tile
from hvit_cli.slides.decoders.vips_decoder import pages_of_levels
from hvit_cli.slides.reader import Slide
from hvit_cli.slides.tiff import TiffDirectory, TileTable, read_directories

_JPEG, _RGB = 7, 2
LIBRARY = "libjpeg-turbo"


@dataclass(frozen=True, kw_only=True)
class JpegTiles:
    """Some tiles of one level, as they lie in the file.

    Attributes:
        path: The slide.
        places: (first byte, bytes) of each tile, in the order of the file.
        tile_px: (width, height) of each.
        prefix: What makes a stored tile a JPEG file.
        is_rgb: Whether its components are red, green and blue.
    """

    path: Path
    places: tuple[tuple[int, int], ...]
    tile_px: tuple[int, int]
    prefix: bytes
    is_rgb: bool

    @property
    def stored_bytes(self) -> int:
        """Bytes of all of them."""
        return sum(count for _, count in self.places)

    def read(self) -> Iterator[bytes]:
        """Reads each, as stored."""
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            for offset, count in self.places:
                yield os.pread(descriptor, count, offset)
        finally:
            os.close(descriptor)

    def streams(self) -> list[bytes]:
        """Each as a JPEG file of its own.

        Raises:
            OddJpegError: A tile is no ordinary JPEG.
        """
        return [
            whole_tile(self.prefix, stored, self.tile_px, is_rgb=self.is_rgb)
            for stored in self.read()
        ]


def decode_streams(streams: Iterable[bytes], tile_px: tuple[int, int]) -> None:
    """Decodes JPEG files to RGB by the library alone, one over the other in the same memory."""
    width, height = tile_px
    pixels = np.empty((height, width, 3), np.uint8)
    for stream in streams:
        simplejpeg.decode_jpeg(stream, "RGB", buffer=pixels)


def jpeg_tiles(slide: Slide, level: int, rectangles: npt.NDArray[np.int64]) -> JpegTiles | None:
    """The tiles of a level under rectangles, each once; None where the level holds no JPEG tiles.

    Args:
        slide: The slide.
        level: Its level.
        rectangles: (n, 4) left, top, right, bottom in pixels of the level.
    """
    page = _page(slide, level)
    if page is None or page.tiles is None or page.compression != _JPEG:
        return None
    is_rgb = page.photometric == _RGB
    try:
        prefix = prefix_of_tiles(page.tiles.jpeg_tables, is_rgb=is_rgb)
        found = JpegTiles(
            path=slide.path,
            places=tuple(sorted(_places(page, page.tiles, rectangles))),
            tile_px=page.tiles.size,
            prefix=prefix,
            is_rgb=is_rgb,
        )
        found.streams()
    except OddJpegError:
        return None
    return found


def _page(slide: Slide, level: int) -> TiffDirectory | None:
    if not slide.path.is_file():
        return None
    try:
        directories = read_directories(slide.path)
    except UnreadableSlideError:
        return None
    pages = pages_of_levels(slide.geometry.sizes, slide.vendor, directories)
    return None if pages is None else directories[pages[level]]


def _places(
    page: TiffDirectory, tiles: TileTable, rectangles: npt.NDArray[np.int64]
) -> set[tuple[int, int]]:
    (width, height), (tile_width, tile_height) = page.size, tiles.size
    across = -(-width // tile_width)
    found = set()
    for left, top, right, bottom in rectangles.tolist():
        for row in range(max(top, 0) // tile_height, -(-min(bottom, height) // tile_height)):
            for column in range(max(left, 0) // tile_width, -(-min(right, width) // tile_width)):
                index = row * across + column
                found.add((int(tiles.offsets[index]), int(tiles.counts[index])))
    return found
