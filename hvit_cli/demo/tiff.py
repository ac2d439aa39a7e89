"""Writing a tiled, pyramidal TIFF with levels of any downsample.

libvips halves every level of a pyramid; PANDA's slides have levels 1, 4 and 16, so the file
is laid out here: classic little-endian TIFF 6.0, one directory per level, JPEG tiles
(technical note 2: compression 7, YCbCr 4:2:0) for pictures, deflate tiles for masks.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from hvit_cli.errors import StorageError
from hvit_cli.storage.atomic import whole_file

Raster = npt.NDArray[np.uint8]

_SHORT, _LONG, _RATIONAL = 3, 4, 5
_SIZE_OF_TYPE = {_SHORT: 2, _LONG: 4, _RATIONAL: 8}
_JPEG, _DEFLATE = 7, 8
_MIN_IS_BLACK, _YCBCR = 1, 6
_CENTIMETRE = 3
_UM_PER_CM = 10_000.0


@dataclass(frozen=True, kw_only=True)
class TiledLevel:
    """One level of a pyramid, as it is stored.

    Attributes:
        size_px: (width, height).
        is_picture: RGB as JPEG, or else one channel deflated.
        tiles: Every tile, compressed, row by row.
    """

    size_px: tuple[int, int]
    is_picture: bool
    tiles: Iterable[bytes]


def write_picture(
    path: Path, levels: Sequence[Raster], *, spacing_um: float, quality: int, tile_px: int = 512
) -> None:
    """Writes RGB levels, finest first, as JPEG tiles.

    Args:
        path: The file, replaced whole or not at all.
        levels: (rows, columns, 3) pictures, each a reduction of the first.
        spacing_um: Micrometres per pixel of the finest level.
        quality: JPEG quality, 1 to 100.
        tile_px: Side of a tile, a multiple of 16.

    Raises:
        StorageError: The file cannot be written.
    """
    _write(path, levels, spacing_um, tile_px, lambda tile: jpeg_tile(tile, quality))


def jpeg_tile(tile: Raster, quality: int) -> bytes:
    """(tile_px, tile_px, 3) RGB as a JPEG file of its own, tables and all.

    Raises:
        StorageError: It cannot be compressed.
    """
    done, data = cv2.imencode(
        ".jpg",
        cv2.cvtColor(tile, cv2.COLOR_RGB2BGR),
        [
            *(cv2.IMWRITE_JPEG_QUALITY, quality),
            *(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420),
        ],
    )
    if not done:
        raise StorageError("a tile could not be compressed", found=f"{tile.shape}")
    return data.tobytes()


def write_mask(
    path: Path, levels: Sequence[Raster], *, spacing_um: float, tile_px: int = 256
) -> None:
    """Writes one-channel levels, finest first, as losslessly compressed tiles.

    Raises:
        StorageError: The file cannot be written.
    """
    _write(path, levels, spacing_um, tile_px, lambda tile: zlib.compress(tile.tobytes(), 6))


def _write(
    path: Path,
    levels: Sequence[Raster],
    spacing_um: float,
    tile_px: int,
    encode: Callable[[Raster], bytes],
) -> None:
    stored = [
        TiledLevel(
            size_px=(level.shape[1], level.shape[0]),
            is_picture=level.ndim == 3,
            tiles=map(encode, _tiles(level, tile_px)),
        )
        for level in levels
    ]
    write_levels(path, stored, spacing_um=spacing_um, tile_px=tile_px)


def write_levels(
    path: Path,
    levels: Sequence[TiledLevel],
    *,
    spacing_um: float,
    tile_px: int,
    share_tiles: bool = False,
) -> None:
    """Writes levels, finest first, whose tiles are compressed already.

    Args:
        path: The file, replaced whole or not at all.
        levels: Sizes and tiles.
        spacing_um: Micrometres per pixel of the finest level.
        tile_px: Side of a tile, a multiple of 16.
        share_tiles: Store equal tiles once, all places pointing there: a slide of any size
            takes the room of its different tiles.

    Raises:
        StorageError: The file cannot be written.
    """
    with whole_file(path) as temporary, temporary.open("wb") as file:
        file.write(struct.pack("<2sHI", b"II", 42, 0))
        pointer_at = 4
        place: dict[bytes, int] = {}
        for index, level in enumerate(levels):
            offsets, counts = [], []
            for data in level.tiles:
                at = place.get(data)
                if at is None:
                    at = file.tell()
                    file.write(data + b"\0" * (len(data) % 2))
                    if share_tiles:
                        place[data] = at
                offsets.append(at)
                counts.append(len(data))
            level_spacing_um = spacing_um * levels[0].size_px[0] / level.size_px[0]
            entries = _entries(level, index, level_spacing_um, tile_px, offsets, counts)
            start = file.tell()
            directory, next_pointer = _directory(entries, start)
            file.write(directory)
            end = file.tell()
            file.seek(pointer_at)
            file.write(struct.pack("<I", start))
            file.seek(end)
            pointer_at = start + next_pointer


def _tiles(level: Raster, tile_px: int) -> Iterator[Raster]:
    """Row by row; the last ones are filled up by repeating the level's edge."""
    rows, columns = level.shape[:2]
    for top in range(0, rows, tile_px):
        for left in range(0, columns, tile_px):
            tile = level[top : top + tile_px, left : left + tile_px]
            lacking = (tile_px - tile.shape[0], tile_px - tile.shape[1])
            if any(lacking):
                filling = ((0, lacking[0]), (0, lacking[1]), (0, 0))[: tile.ndim]
                tile = np.pad(tile, filling, mode="edge")
            yield np.ascontiguousarray(tile)


Entry = tuple[int, int, list[int]]


def _entries(
    level: TiledLevel,
    index: int,
    spacing_um: float,
    tile_px: int,
    offsets: list[int],
    counts: list[int],
) -> list[Entry]:
    """(tag, type, values) of one level, by ascending tag as TIFF asks."""
    (columns, rows), picture = level.size_px, level.is_picture
    # A rational of two 32-bit integers; this denominator keeps eight digits of the spacing.
    resolution = [round(_UM_PER_CM / spacing_um * 100_000), 100_000]
    entries: list[Entry] = [
        (254, _LONG, [int(index > 0)]),
        (256, _LONG, [columns]),
        (257, _LONG, [rows]),
        (258, _SHORT, [8, 8, 8] if picture else [8]),
        (259, _SHORT, [_JPEG if picture else _DEFLATE]),
        (262, _SHORT, [_YCBCR if picture else _MIN_IS_BLACK]),
        (277, _SHORT, [3 if picture else 1]),
        (282, _RATIONAL, resolution),
        (283, _RATIONAL, resolution),
        (284, _SHORT, [1]),
        (296, _SHORT, [_CENTIMETRE]),
        (322, _LONG, [tile_px]),
        (323, _LONG, [tile_px]),
        (324, _LONG, offsets),
        (325, _LONG, counts),
    ]
    return [*entries, (530, _SHORT, [2, 2])] if picture else entries


def _directory(entries: list[Entry], start: int) -> tuple[bytes, int]:
    """The bytes of a directory at `start`, and where in them the next one's address goes."""
    head = 2 + 12 * len(entries) + 4
    fixed, loose = struct.pack("<H", len(entries)), b""
    for tag, kind, values in entries:
        size = _SIZE_OF_TYPE[kind]
        count = len(values) // 2 if kind == _RATIONAL else len(values)
        data = struct.pack(f"<{len(values)}{'H' if kind == _SHORT else 'I'}", *values)
        if size * count > 4:
            field = struct.pack("<I", start + head + len(loose))
            loose += data + b"\0" * (len(data) % 2)
        else:
            field = data.ljust(4, b"\0")
        fixed += struct.pack("<HHI", tag, kind, count) + field
    return fixed + struct.pack("<I", 0) + loose, head - 4
