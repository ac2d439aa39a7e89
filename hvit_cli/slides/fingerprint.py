"""A slide's fingerprint: enough of its content to tell it from another of the same name."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from hvit_cli.errors import UnreadableSlideError
from hvit_cli.slides.files import companion_folder, dicom_files

END_BYTES = 1 << 20


def fingerprint(path: Path, sizes: tuple[tuple[int, int], ...]) -> dict[str, Any]:
    """Size, SHA-256 of the first and last MiB, and level geometry, as plain JSON values.

    A slide of several files (DICOM, MRXS) is their sum: all sizes, and the ends of the first
    and last file by name.

    Args:
        path: The slide's file or folder.
        sizes: (width, height) of each level.

    Raises:
        UnreadableSlideError: A file cannot be read.
    """
    try:
        files = _files(path)
        lengths = [file.stat().st_size for file in files]
        digest = hashlib.sha256()
        with files[0].open("rb") as first:
            digest.update(first.read(END_BYTES))
        with files[-1].open("rb") as last:
            last.seek(max(0, lengths[-1] - END_BYTES))
            digest.update(last.read(END_BYTES))
    except OSError as error:
        raise UnreadableSlideError(f"the file cannot be read ({error})", where=path) from error
    return {
        "bytes": sum(lengths),
        "sha256_of_ends": digest.hexdigest(),
        "sizes": [list(size) for size in sizes],
    }


def full_hash(path: Path) -> str:
    """SHA-256 over all bytes of the slide's files, in the order of their names."""
    digest = hashlib.sha256()
    for file in _files(path):
        with file.open("rb") as opened:
            while block := opened.read(END_BYTES):
                digest.update(block)
    return digest.hexdigest()


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return dicom_files(path)
    folder = companion_folder(path)
    inside = sorted(p for p in folder.iterdir() if p.is_file()) if folder else []
    return [path, *inside]
