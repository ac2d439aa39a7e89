"""States of unfinished runs, as PyTorch saves them: checked before anything of them is used.

PyTorch writes a checksum for each part of its archive and does not compare it when it reads; the
bytes between the parts have none. So the archive ends in a comment, which every ZIP reader skips:
the SHA-256 of all bytes before it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import torch

from hvit_cli.errors import DamagedFileError, StorageError
from hvit_cli.storage.atomic import whole_file

_DIGEST_BYTES = hashlib.sha256().digest_size * 2
# The last two bytes of a ZIP archive without a comment say how long its comment is.
_NO_COMMENT = (0).to_bytes(2, "little")
_COMMENT = _DIGEST_BYTES.to_bytes(2, "little")


def write_state(path: Path, content: Mapping[str, Any]) -> None:
    """Writes a state, whole or not at all; equal content makes equal bytes.

    Raises:
        StorageError: It cannot be written.
    """
    try:
        # By its path, PyTorch would write the temporary's name into the archive.
        with whole_file(path) as temporary, temporary.open("wb") as file:
            torch.save(dict(content), file)
            file.flush()
            _seal(temporary)
    except RuntimeError as error:
        # PyTorch's archive complains in its own way of a disk that is full.
        raise StorageError(
            "cannot be written",
            where=path,
            found=str(error).split("\n", 1)[0],
            hint="another folder with -w or -o, or free some space",
        ) from error


def require_whole_state(path: Path) -> None:
    """Compares a file that `write_state` wrote with the SHA-256 at its end.

    Raises:
        DamagedFileError: The file is not all, or not what was written: any byte of it.
    """
    try:
        size = path.stat().st_size - _DIGEST_BYTES
        with path.open("rb") as file:
            found = _sha256(file, size)
            written = file.read()
    except OSError as error:
        raise DamagedFileError(
            "the saved state cannot be read", where=path, found=error.strerror
        ) from error
    if size <= 0 or written != found:
        raise DamagedFileError("the saved state is not what was written (checksum)", where=path)


def _seal(archive: Path) -> None:
    with archive.open("r+b") as file:
        file.seek(-len(_NO_COMMENT), os.SEEK_END)
        if file.read() != _NO_COMMENT:
            raise StorageError("the archive has a comment already", where=archive)
        file.seek(-len(_NO_COMMENT), os.SEEK_END)
        file.write(_COMMENT)
        size = file.tell()
        file.seek(0)
        digest = _sha256(file, size)
        file.seek(0, os.SEEK_END)
        file.write(digest)


def _sha256(file: IO[bytes], size: int) -> bytes:
    """Of the next `size` bytes, as hexadecimal digits."""
    digest = hashlib.sha256()
    while size > 0 and (block := file.read(min(size, 1 << 20))):
        digest.update(block)
        size -= len(block)
    return digest.hexdigest().encode()
