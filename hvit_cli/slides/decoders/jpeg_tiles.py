"""Pixels of tiled JPEG TIFFs straight from libjpeg-turbo: each tile decoded once, and kept."""

from __future__ import annotations

import os
import threading
import weakref
from pathlib import Path

import numpy as np
import numpy.typing as npt
import simplejpeg

from hvit_cli.slides.decoders.base import Rgb, undecodable
from hvit_cli.slides.decoders.jpeg_stream import (
    REPLACED_BYTES,
    OddJpegError,
    check_tile,
    prefix_of_tiles,
)
from hvit_cli.slides.decoders.openslide_decoder import OpenSlideDecoder
from hvit_cli.slides.decoders.tile_cache import TileCache
from hvit_cli.slides.decoders.tile_pool import TilePool
from hvit_cli.slides.tiff import TiffDirectory, TileTable

_JPEG = 7
_RGB = 2
# Of decoded tiles, per slide and for all threads that read it: the tiles that a row of regions
# shares with the next, over a slide 40 000 pixels wide that is half tissue.
_MOST_BYTES = 128 << 20
# For all slides of a process: what one slide leaves, the next one decodes into.
_POOL = TilePool(_MOST_BYTES)
# Larger tiles would each be a slide of their own, decoded for the sake of one patch.
_MOST_TILE_PX = 4096 * 4096
_SAMPLE_PX = 64
# Pixels take three bytes before they are compressed; whatever claims more is no ordinary tile.
_MOST_STORED_PER_PX = 6


class JpegTileDecoder:
    """Decodes the JPEG tiles of a TIFF itself, and asks OpenSlide wherever one is unusual.

    libjpeg warns of a damaged stream and goes on in grey or in wrong places; every warning is
    an error here. OpenSlide misses those of the stream's end, where bytes are left over.

    Args:
        path: The slide.
        pages: The TIFF page of each level.
        standby: OpenSlide. Knows what the slide is, and reads what this decoder does not.

    Raises:
        OddJpegError: The tiles are not JPEG, or of an unusual kind.
        OSError: The file cannot be opened.
    """

    def __init__(
        self, path: Path, pages: tuple[TiffDirectory, ...], standby: OpenSlideDecoder
    ) -> None:
        self._path = path
        self._levels = tuple(_Level(page) for page in pages)
        self._file: _File | None = _File(path)
        self._cache = TileCache(_MOST_BYTES)
        self._standby = standby
        self.name = "libjpeg-turbo"
        self.keeps_tiles = True
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
        pixels = np.empty((size_px[1], size_px[0], 3), np.uint8) if out is None else out
        try:
            if self._fill(pixels, level, xy_px):
                return pixels
        except _DamagedTileError as error:
            raise undecodable(self._path, level, xy_px, size_px, error) from error
        return self._standby.read(level, xy_px, size_px, pixels)

    def _fill(self, pixels: Rgb, level: int, xy_px: tuple[int, int]) -> bool:
        """Copies tiles together; False, and `pixels` half-written, where one is unusual."""
        (x, y), (height, width) = xy_px, pixels.shape[:2]
        tile_width, tile_height = self._levels[level].tile_size
        for row in range(y // tile_height, -(-(y + height) // tile_height)):
            for column in range(x // tile_width, -(-(x + width) // tile_width)):
                tile = self._tile(level, row, column)
                if tile is None:
                    return False
                _copy(tile, (column * tile_width, row * tile_height), pixels, (x, y))
        return True

    def read_squares(self, level: int, xy_px: npt.NDArray[np.int64], out: Rgb, /) -> bool:
        """Reads squares tile by tile, so that a tile is copied from while it is at hand.

        Args:
            level: The level to read from.
            xy_px: (n, 2) top-left corners (x, y) of squares that lie inside the level.
            out: (n, side, side, 3) to write into.

        Returns:
            False where a tile is unusual, and `out` is half-written.

        Raises:
            PixelError: A tile is damaged; it names the first square that needs it.
        """
        side, (across, down) = out.shape[1], self._levels[level].tile_size
        needed: dict[tuple[int, int], list[tuple[int, int, int]]] = {}
        for n, (x, y) in enumerate(xy_px.tolist()):
            for row in range(y // down, -(-(y + side) // down)):
                for column in range(x // across, -(-(x + side) // across)):
                    needed.setdefault((row, column), []).append((n, x, y))
        for (row, column), squares in sorted(needed.items()):
            try:
                tile = self._tile(level, row, column)
            except _DamagedTileError as error:
                _, x, y = squares[0]
                raise undecodable(self._path, level, (x, y), (side, side), error) from error
            if tile is None:
                return False
            for n, x, y in squares:
                _copy(tile, (column * across, row * down), out[n], (x, y))
        return True

    def _tile(self, level: int, row: int, column: int) -> Rgb | None:
        stored, file = self._levels[level], self._file
        if file is None:
            raise ValueError("the decoder is closed")
        offset, count = stored.place(row, column)
        # Tiles that lie at one place of the file, such as glass, are one tile.
        return self._cache.get((level, offset, count), lambda: stored.decode(file, offset, count))

    def agrees(self) -> bool:
        """Whether this decoder and OpenSlide see the same in the tile at the slide's centre."""
        (width, height), (across, down) = self.sizes[0], self._levels[0].tile_size
        xy = (width // 2 // across * across, height // 2 // down * down)
        size = (min(width - xy[0], across, _SAMPLE_PX), min(height - xy[1], down, _SAMPLE_PX))
        sample = np.empty((size[1], size[0], 3), np.uint8)
        try:
            is_filled = self._fill(sample, 0, xy)
        except _DamagedTileError:
            return False
        return is_filled and np.array_equal(sample, self._standby.read(0, xy, size))

    def twin(self) -> JpegTileDecoder:
        """See `Decoder.twin`; tiles are kept once for all."""
        twin = object.__new__(JpegTileDecoder)
        twin.__dict__.update(self.__dict__, _standby=self._standby.twin())
        return twin

    def close(self) -> None:
        """See `Decoder.close`; the file closes with the last of its twins."""
        self._file = None
        self._standby.close()


def _copy(tile: Rgb, tile_xy: tuple[int, int], pixels: Rgb, xy: tuple[int, int]) -> None:
    """Copies what a tile has of a rectangle; corners (x, y) in pixels of their level."""
    # The tile's corner in the frame of `pixels`.
    left, top = tile_xy[0] - xy[0], tile_xy[1] - xy[1]
    x0, x1 = max(left, 0), min(left + tile.shape[1], pixels.shape[1])
    y0, y1 = max(top, 0), min(top + tile.shape[0], pixels.shape[0])
    pixels[y0:y1, x0:x1] = tile[y0 - top : y1 - top, x0 - left : x1 - left]


class _DamagedTileError(Exception):
    """libjpeg's complaint about a tile."""


class _Level:
    """How the tiles of one TIFF page are stored."""

    def __init__(self, page: TiffDirectory) -> None:
        tiles = page.tiles
        if page.compression != _JPEG or tiles is None:
            raise OddJpegError("no JPEG tiles")
        if tiles.size[0] * tiles.size[1] > _MOST_TILE_PX or max(tiles.size) > 0xFFFF:
            raise OddJpegError("tiles too large")
        self.tile_size = tiles.size
        self._tiles: TileTable = tiles
        self._across = -(-page.size[0] // tiles.size[0])
        self._is_rgb = page.photometric == _RGB
        self._prefix = prefix_of_tiles(tiles.jpeg_tables, is_rgb=self._is_rgb)

    def place(self, row: int, column: int) -> tuple[int, int]:
        """First byte and number of bytes of a tile in the file."""
        index = row * self._across + column
        return int(self._tiles.offsets[index]), int(self._tiles.counts[index])

    def decode(self, file: _File, offset: int, count: int) -> Rgb | None:
        """(height, width, 3) pixels of a tile, or nothing where it is unusual."""
        width, height = self.tile_size
        if count > width * height * _MOST_STORED_PER_PX:
            return None
        # The tile is read to where its prefix, written over its first bytes, makes it a file.
        first = len(self._prefix) - REPLACED_BYTES
        memory = _STREAM.of(first + count)
        tile = memory[first : first + file.read_into(memory[first:], offset)]
        try:
            check_tile(tile, self.tile_size, is_rgb=self._is_rgb)
        except OddJpegError:
            return None
        memory[: len(self._prefix)] = self._prefix
        stream = memory[: first + len(tile)]
        pixels = _POOL.take(height, width)
        try:
            simplejpeg.decode_jpeg(stream, "RGB", strict=True, buffer=pixels)
        except ValueError as error:
            # For errors of libjpeg and, in strict mode, for its warnings.
            raise _DamagedTileError(str(error)) from error
        return pixels


class _File:
    """A file that any thread reads at any place; it closes with its last reader."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._descriptor)

    def read_into(self, memory: memoryview, offset: int) -> int:
        """Fills memory from a place on; fewer bytes where the file ends or cannot be read."""
        try:
            return os.preadv(self._descriptor, [memory], offset)
        except (OSError, OverflowError):
            return 0


class _Scratch(threading.local):
    """Memory of each thread for the stream it is decoding."""

    def __init__(self) -> None:
        self._memory = memoryview(bytearray(0))

    def of(self, count: int) -> memoryview:
        """So many bytes, which hold what they held before; good until the next call."""
        if count > len(self._memory):
            self._memory = memoryview(bytearray(count))
        return self._memory[:count]


_STREAM = _Scratch()
