"""The directories of a TIFF file: enough to choose a decoder and to say what is wrong with it.

Written after the TIFF 6.0 specification, section 2, and the BigTIFF design note. Pixels are
never touched.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from hvit_cli.errors import UnreadableSlideError

# Field types of TIFF 6.0 and BigTIFF that hold whole numbers.
_WHOLE = {1: "u1", 3: "u2", 4: "u4", 13: "u4", 16: "u8", 18: "u8"}

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_SAMPLES, _PLANAR, _TILE_WIDTH, _TILE_HEIGHT = 277, 284, 322, 323
_TILE_OFFSETS, _TILE_COUNTS, _JPEG_TABLES = 324, 325, 347
_NUMBERS = {_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES, _PLANAR}
_NUMBERS |= {_TILE_WIDTH, _TILE_HEIGHT}
_MOST_OF = {_TILE_OFFSETS: 50_000_000, _TILE_COUNTS: 50_000_000, _JPEG_TABLES: 1 << 16}
_UNDEFINED, _BYTE = 7, 1

# No slide has more; a chain that goes on is a loop or rubbish.
_MOST_DIRECTORIES = 4096


@dataclass(frozen=True, kw_only=True, eq=False)
class TileTable:
    """Where the tiles of a page lie in the file.

    Attributes:
        size: (width, height) of every tile in pixels; those at the edges are padded.
        offsets: (n,) first byte of each tile, row after row.
        counts: (n,) bytes of each tile; 0 where it is missing.
        jpeg_tables: What its JPEG tiles have in common, as stored; empty where there is none.
    """

    size: tuple[int, int]
    offsets: npt.NDArray[np.unsignedinteger]
    counts: npt.NDArray[np.unsignedinteger]
    jpeg_tables: bytes


@dataclass(frozen=True, kw_only=True)
class TiffDirectory:
    """One page of a TIFF file, in the words of the TIFF specification.

    Attributes:
        size: (width, height) in pixels.
        is_tiled: False where the pixels are stored in strips.
        compression: Compression tag, such as 7 for JPEG.
        photometric: PhotometricInterpretation tag, such as 2 for RGB and 6 for YCbCr.
        bits: Bits of each sample.
        planar: 1 where the samples of a pixel lie side by side.
        has_missing_tiles: Whether some tile has no bytes.
        tiles: Where its tiles lie; nothing where the directory does not say so completely.
    """

    size: tuple[int, int]
    is_tiled: bool
    compression: int
    photometric: int
    bits: tuple[int, ...]
    planar: int
    has_missing_tiles: bool
    tiles: TileTable | None = field(default=None, repr=False, compare=False)


def read_directories(path: Path) -> tuple[TiffDirectory, ...]:
    """The directories of a TIFF or BigTIFF file, in file order.

    Raises:
        UnreadableSlideError: The file is no TIFF, or its directories are damaged.
    """
    with path.open("rb") as file:
        try:
            return tuple(_Walk(path, file).directories())
        except (struct.error, OverflowError, MemoryError) as error:
            raise UnreadableSlideError(
                "the TIFF directories are cut off or damaged",
                where=path,
                hint="a fresh copy of the file",
            ) from error


class _Walk:
    """One pass along the chain of directories."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path = path
        self._file = file
        self._end = path.stat().st_size
        magic = file.read(4)
        if magic[:2] not in (b"II", b"MM"):
            raise UnreadableSlideError("not a TIFF file", where=path)
        self._order = "<" if magic[:2] == b"II" else ">"
        (version,) = struct.unpack(self._order + "H", magic[2:])
        if version not in (42, 43):
            raise UnreadableSlideError("not a TIFF file", where=path)
        self._big = version == 43

    def directories(self) -> list[TiffDirectory]:
        (offset,) = self._unpack("HHQ", 4)[2:] if self._big else self._unpack("I", 4)
        found: list[TiffDirectory] = []
        seen: set[int] = set()
        while offset:
            if offset in seen or len(found) == _MOST_DIRECTORIES:
                raise self._damaged("its chain of TIFF directories runs in a circle")
            if offset >= self._end:
                raise self._damaged(
                    "it is cut off: a TIFF directory lies beyond the end of the file"
                )
            seen.add(offset)
            directory, offset = self._directory(offset)
            found.append(directory)
        return found

    def _directory(self, offset: int) -> tuple[TiffDirectory, int]:
        (entries,) = self._unpack("Q" if self._big else "H", offset)
        start = offset + (8 if self._big else 2)
        length = 20 if self._big else 12
        if start + entries * length > self._end:
            raise self._damaged("it is cut off: a TIFF directory ends beyond the end of the file")
        values: dict[int, tuple[int, ...]] = {}
        tables: dict[int, npt.NDArray[np.unsignedinteger]] = {}
        for entry in range(start, start + entries * length, length):
            tag, kind, count = self._unpack("HHQ" if self._big else "HHI", entry)
            if tag in _NUMBERS:
                values[tag] = tuple(int(v) for v in self._numbers(entry, kind, count, 64))
            elif tag in _MOST_OF:
                if tag == _JPEG_TABLES and kind == _UNDEFINED:
                    kind = _BYTE
                tables[tag] = self._numbers(entry, kind, count, _MOST_OF[tag])
        (following,) = self._unpack("Q" if self._big else "I", start + entries * length)
        if not values.get(_WIDTH) or not values.get(_HEIGHT):
            raise self._damaged("a TIFF directory states no image size")
        samples = values.get(_SAMPLES, (1,))[0]
        directory = TiffDirectory(
            size=(values[_WIDTH][0], values[_HEIGHT][0]),
            is_tiled=_TILE_WIDTH in values,
            compression=values.get(_COMPRESSION, (1,))[0],
            photometric=values.get(_PHOTOMETRIC, (-1,))[0],
            bits=values.get(_BITS, (1,) * min(samples, 64)),
            planar=values.get(_PLANAR, (1,))[0],
            has_missing_tiles=_TILE_COUNTS in tables and not tables[_TILE_COUNTS].all(),
            tiles=_tile_table(values, tables),
        )
        return directory, following

    def _numbers(
        self, entry: int, kind: int, count: int, most: int
    ) -> npt.NDArray[np.unsignedinteger]:
        if kind not in _WHOLE or not 0 < count <= most:
            raise self._damaged("a TIFF directory holds a nonsensical entry")
        layout = np.dtype(self._order + _WHOLE[kind])
        width = layout.itemsize
        place = entry + (12 if self._big else 8)
        if count * width > (8 if self._big else 4):
            (place,) = self._unpack("Q" if self._big else "I", place)
        if place + count * width > self._end:
            raise self._damaged("it is cut off: a TIFF entry lies beyond the end of the file")
        self._file.seek(place)
        return np.frombuffer(self._file.read(count * width), layout)

    def _unpack(self, layout: str, offset: int) -> tuple[int, ...]:
        layout = self._order + layout
        self._file.seek(offset)
        return struct.unpack(layout, self._file.read(struct.calcsize(layout)))

    def _damaged(self, reason: str) -> UnreadableSlideError:
        return UnreadableSlideError(reason, where=self._path, hint="a fresh copy of the file")


def _tile_table(
    values: dict[int, tuple[int, ...]], tables: dict[int, npt.NDArray[np.unsignedinteger]]
) -> TileTable | None:
    width, height = values.get(_TILE_WIDTH, (0,))[0], values.get(_TILE_HEIGHT, (0,))[0]
    if not width or not height or not {_TILE_OFFSETS, _TILE_COUNTS} <= tables.keys():
        return None
    across, down = -(-values[_WIDTH][0] // width), -(-values[_HEIGHT][0] // height)
    offsets, counts = tables[_TILE_OFFSETS], tables[_TILE_COUNTS]
    # Planes of their own have a table for each.
    if len(offsets) != across * down or len(counts) != across * down:
        return None
    return TileTable(
        size=(width, height),
        offsets=offsets,
        counts=counts,
        jpeg_tables=tables[_JPEG_TABLES].tobytes() if _JPEG_TABLES in tables else b"",
    )
