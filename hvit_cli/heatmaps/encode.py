"""Rows to a picture file of any size, the whole canvas never in memory.

libvips compresses in its own thread what is painted here. It can read rows as they come from a
pipe, but not as bare numbers, so they travel as PNG without compression (PNG specification,
second edition, 5 and 10): one header, the rows each behind a zero (no filter), one end.
"""

from __future__ import annotations

import os
import struct
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyvips

from hvit_cli.errors import StorageError

Rows = npt.NDArray[np.uint8]
_COLOUR_TYPE = {3: 2, 4: 6}
_PIPE_BYTES = 1 << 16


def encode(
    path: Path,
    strips: Iterable[Rows],
    size_px: tuple[int, int],
    save: Callable[[Any, str], None],
    *,
    bands: int = 3,
) -> None:
    """Writes a picture from its strips.

    Args:
        path: Where to.
        strips: (rows, width, bands) uint8 from top to bottom.
        size_px: (width, height) of the whole.
        save: Given a libvips image that can be read once from top to bottom, and a file name.
        bands: 3 for RGB, 4 for RGBA with alpha apart from the colours.

    Raises:
        StorageError: The file cannot be written.
    """
    reading, writing = os.pipe()
    failures: list[pyvips.Error] = []

    def compress() -> None:
        try:
            source = pyvips.Source.new_from_descriptor(reading)
            save(pyvips.Image.new_from_source(source, "", access="sequential"), str(path))
            del source
            # libvips stops at the last row; the end of the file is still to come, and whoever
            # writes it must not find the pipe closed.
            while os.read(reading, _PIPE_BYTES):
                pass
        except pyvips.Error as error:
            failures.append(error)
        finally:
            os.close(reading)

    worker = threading.Thread(target=compress, name="picture")
    worker.start()
    try:
        with os.fdopen(writing, "wb") as pipe:
            for piece in _png(strips, size_px, bands):
                pipe.write(piece)
    except BrokenPipeError:
        # The other end has given up, and knows why.
        worker.join()
        if not failures:
            raise
    finally:
        worker.join()
    if failures:
        raise StorageError(
            "the picture cannot be written", where=path, found=_first_line(failures[0])
        ) from failures[0]


def _first_line(error: pyvips.Error) -> str:
    text = str(error.detail or error.message).strip()
    return text.splitlines()[-1] if text else "no reason given"


def _png(strips: Iterable[Rows], size_px: tuple[int, int], bands: int) -> Iterator[bytes]:
    width, height = size_px
    yield b"\x89PNG\r\n\x1a\n"
    yield _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, _COLOUR_TYPE[bands], 0, 0, 0))
    stored = zlib.compressobj(0)
    for strip in strips:
        lines = np.zeros((len(strip), 1 + width * bands), np.uint8)
        lines[:, 1:] = strip.reshape(len(strip), width * bands)
        yield _chunk(b"IDAT", stored.compress(lines.tobytes()))
    yield _chunk(b"IDAT", stored.flush())
    yield _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
