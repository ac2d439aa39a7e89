"""States of unfinished runs, as PyTorch saves them: checked before anything of them is used.

PyTorch writes a checksum for each part of its archive and does not compare it when it reads.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from hvit_cli.errors import DamagedFileError, StorageError
from hvit_cli.storage.atomic import whole_file


def write_state(path: Path, content: Mapping[str, Any]) -> None:
    """Writes a state, whole or not at all; equal content makes equal bytes.

    Raises:
        StorageError: It cannot be written.
    """
    try:
        # By its path, PyTorch would write the temporary's name into the archive.
        with whole_file(path) as temporary, temporary.open("wb") as file:
            torch.save(dict(content), file)
    except RuntimeError as error:
        # PyTorch's archive complains in its own way of a disk that is full.
        raise StorageError(
            "cannot be written",
            where=path,
            found=str(error).split("\n", 1)[0],
            hint="another folder with -w or -o, or free some space",
        ) from error


def require_whole_archive(path: Path) -> None:
    """Compares every part of a file that `torch.save` wrote with its checksum (CRC-32).

    Raises:
        DamagedFileError: The file is no archive, not all of one, or not what was written.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            altered = archive.testzip()
            # PyTorch aligns the parts; what it reads must be what was compared.
            compressed = any(part.compress_type for part in archive.infolist())
    # What a damaged archive raises depends on the byte that is wrong.
    except (
        OSError,
        EOFError,
        ValueError,
        OverflowError,
        RuntimeError,
        struct.error,
        zipfile.BadZipFile,
    ) as error:
        raise DamagedFileError(
            "the saved state cannot be read",
            where=path,
            found=str(error).split("\n", 1)[0] or type(error).__name__,
        ) from error
    if altered is not None or compressed:
        raise DamagedFileError(
            "the saved state is not what was written (checksum)", where=path, found=altered
        )
