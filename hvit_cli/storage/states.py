"""States of unfinished runs, as PyTorch saves them: checked before anything of them is used.

PyTorch writes a checksum for each part of its archive and does not compare it when it reads.
"""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

from hvit_cli.errors import DamagedFileError


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
