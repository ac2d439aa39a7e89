"""Makes the JPEG tiles of a TIFF whole: tables put back, colours said in a way libraries heed.

Written after ITU-T T.81, annex B (markers), TIFF technical note 2 (JPEGTables) and Adobe's
technical note 5116 (the APP14 marker, whose last byte says whether three components are RGB).
Entropy-coded data are left to the library; whatever is unusual before them is refused here.
"""

from __future__ import annotations

from collections.abc import Iterator

_START, _END = b"\xff\xd8", b"\xff\xd9"
REPLACED_BYTES = len(_START)
"""Of a stored tile, in whose place the prefix stands."""
_SOS = 0xDA
# Sequential Huffman-coded frames, which is what TIFF writers make.
_FRAMES = {0xC0, 0xC1}
_DHT, _DQT, _DRI, _COM = 0xC4, 0xDB, 0xDD, 0xFE
_APP0, _APP14, _APP15 = 0xE0, 0xEE, 0xEF
_TABLES = {_DHT, _DQT, _COM, *range(_APP0, _APP15 + 1)}
_BEFORE_SCAN = {*_TABLES, _DRI}


class OddJpegError(Exception):
    """A JPEG stream that is better left to another library."""


def prefix_of_tiles(tables: bytes, *, is_rgb: bool) -> bytes:
    """What stands before each tile, instead of its first two bytes, to make it a JPEG file.

    Args:
        tables: The field JPEGTables; empty where the tiles bring their own.
        is_rgb: Whether the components are red, green and blue rather than YCbCr.

    Raises:
        OddJpegError: The tables are damaged or hold something else.
    """
    colours = b"\xff\xee\x00\x0eAdobe\x00\x64\0\0\0\0" + (b"\0" if is_rgb else b"\1")
    if not tables:
        return _START + colours
    if not tables.endswith(_END):
        raise OddJpegError("the JPEG tables have no end")
    end = len(tables) - len(_END)
    for marker, first, last in _segments(tables, end):
        if marker not in _TABLES:
            raise OddJpegError(f"marker {marker:#x} in the JPEG tables")
        _check_colours(marker, tables[first:last], is_rgb=is_rgb)
    return _START + colours + tables[len(_START) : end]


def whole_tile(prefix: bytes, tile: bytes, size_px: tuple[int, int], *, is_rgb: bool) -> bytes:
    """A tile as a JPEG file of its own.

    Args:
        prefix: From `prefix_of_tiles`; takes the place of the tile's first `REPLACED_BYTES`.
        tile: The tile as stored.
        size_px: (width, height) it must have.
        is_rgb: As for its prefix.

    Raises:
        OddJpegError: As `check_tile`.
    """
    check_tile(memoryview(tile), size_px, is_rgb=is_rgb)
    return prefix + tile[REPLACED_BYTES:]


def check_tile(tile: memoryview, size_px: tuple[int, int], *, is_rgb: bool) -> None:
    """Looks at what a stored tile says before its entropy-coded data.

    Args:
        tile: The tile as stored.
        size_px: (width, height) it must have.
        is_rgb: Whether the components are red, green and blue rather than YCbCr.

    Raises:
        OddJpegError: It is not three components of 8 bits of that size, or says of its colours
            something else than the TIFF does.
    """
    width, height = size_px
    has_frame = False
    for marker, first, last in _segments(tile, len(tile)):
        if marker in _FRAMES and not has_frame:
            frame = bytes([8, *divmod(height, 256), *divmod(width, 256), 3])
            if tile[first : first + len(frame)] != frame:
                raise OddJpegError("a tile of another size or kind")
            has_frame = True
        elif marker == _SOS and has_frame:
            return
        elif marker in _BEFORE_SCAN:
            _check_colours(marker, bytes(tile[first:last]), is_rgb=is_rgb)
        else:
            raise OddJpegError(f"marker {marker:#x} in a tile")
    raise OddJpegError("a tile without a scan")


def _segments(stream: bytes | memoryview, end: int) -> Iterator[tuple[int, int, int]]:
    """(marker, first, last) of the segments of a stream: places of their content."""
    if stream[:2] != _START:
        raise OddJpegError("no JPEG stream")
    place = len(_START)
    while place < end:
        header = stream[place : min(place + 4, end)]
        length = int.from_bytes(header[2:], "big")
        if len(header) < 4 or header[0] != 0xFF or length < 2 or place + 2 + length > end:
            raise OddJpegError("damaged JPEG markers")
        yield header[1], place + 4, place + 2 + length
        place += 2 + length


def _check_colours(marker: int, content: bytes, *, is_rgb: bool) -> None:
    """JFIF is YCbCr whatever else is said, and a later Adobe marker outdoes an earlier one."""
    if marker == _APP0 and content.startswith(b"JFIF") and is_rgb:
        raise OddJpegError("JFIF in an RGB TIFF")
    if marker == _APP14 and content.startswith(b"Adobe") and content[11:12] != bytes([not is_rgb]):
        raise OddJpegError("colours other than the TIFF's")
