"""Rows of a feature file that is not whole yet, so that a killed run goes on inside a slide.

One file for a slide, appended to: a header that names what the rows belong to, then chunks of
float16 rows. The checksum of a chunk covers the header and all chunks before it, so that a torn
or altered chunk ends what is believed, and one that was written by another process to the same
place is not taken for the next. Whatever follows is overwritten.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from hvit_cli.errors import StorageError
from hvit_cli.storage.recipe import recipe_text

FOLDER = ".partial"
"""Folder of partial files beside the feature files that they become."""

NOBODYS_AGE_S = 7 * 24 * 3600.0
"""Age of the last write from which on the rows of a slide are given up."""

_MAGIC = b"hvit-partial-1\n"
_CHECKSUM_BYTES = 32
_FEATURE_BYTES = 2

Rows = npt.NDArray[np.float16]


class PartialFeatures:
    """The rows of one slide that are finished.

    Args:
        features: The feature file that the rows are for.
        key: Everything that decides the rows, as plain values; rows of another key do not count.
        width: Length of a row.
    """

    def __init__(self, features: Path, key: Mapping[str, Any], width: int) -> None:
        self.path = features.parent / FOLDER / features.stem
        self.width = width
        digest = hashlib.sha256(recipe_text(dict(key)).encode()).digest()
        self._header = _MAGIC + digest + struct.pack("<I", width)
        self._digest = hashlib.sha256(self._header).digest()
        self._length = 0

    def rows(self) -> Rows:
        """(n, width) the rows that were finished and are as they were written."""
        parts = [np.zeros((0, self.width), np.float16)]
        try:
            with self.path.open("rb") as file:
                if file.read(len(self._header)) == self._header:
                    self._length = file.tell()
                    while (part := self._next_chunk(file)) is not None:
                        parts.append(part)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise StorageError(
                "cannot be read", where=self.path, found=error.strerror or error
            ) from error
        return np.concatenate(parts)

    def append(self, rows: Rows) -> None:
        """Adds rows behind those that `rows` found, flushed to disk before it returns.

        Raises:
            StorageError: They cannot be written.
        """
        content = struct.pack("<I", len(rows)) + np.ascontiguousarray(rows, "<f2").tobytes()
        digest = hashlib.sha256(self._digest + content).digest()
        is_new = self._length == 0
        try:
            with self._opened() as file:
                file.seek(self._length)
                file.truncate()
                file.write((self._header if is_new else b"") + content + digest)
                file.flush()
                os.fsync(file.fileno())
                self._digest, self._length = digest, file.tell()
        except OSError as error:
            raise StorageError(
                "cannot be written",
                where=self.path,
                found=error.strerror or error,
                hint="another folder with -w, or free some space",
            ) from error
        if is_new:
            _sweep(self.path)

    def remove(self) -> None:
        """Removes the rows, whose feature file is whole."""
        with suppress(OSError):
            self.path.unlink(missing_ok=True)
            self.path.parent.rmdir()  # unless rows of others are in it

    def _next_chunk(self, file: BinaryIO) -> Rows | None:
        """The next chunk of a file that is read; None where no whole one follows."""
        head = file.read(4)
        if len(head) < 4:
            return None
        size = struct.unpack("<I", head)[0] * self.width * _FEATURE_BYTES
        left = os.fstat(file.fileno()).st_size - file.tell()
        if size + _CHECKSUM_BYTES > left:
            return None
        content, found = file.read(size), file.read(_CHECKSUM_BYTES)
        if hashlib.sha256(self._digest + head + content).digest() != found:
            return None
        self._digest, self._length = found, file.tell()
        return np.frombuffer(content, "<f2").astype(np.float16).reshape(-1, self.width)

    def _opened(self) -> BinaryIO:
        # Another process that has finished its slide may remove the folder while it is empty.
        for _ in range(20):
            with suppress(FileNotFoundError):
                self.path.parent.mkdir(parents=True, exist_ok=True)
                return os.fdopen(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
        return self.path.open("r+b")


def _sweep(own: Path) -> None:
    """Removes what nobody has gone on with; ages are taken on the clock that stamps the files."""
    now = own.stat().st_mtime
    for path in own.parent.iterdir():
        with suppress(OSError):
            if now - path.stat().st_mtime > NOBODYS_AGE_S:
                path.unlink()
