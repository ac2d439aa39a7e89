"""A description that carries checksums: of itself, and of the files beside it that it describes.

A flipped bit in it makes no other settings, and weights that were altered are not taken for those
that were written. Descriptions from before checksums were written are read without.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SEAL, FILES = "sha256", "files_sha256"
"""The entries of a description with its own checksum, and with those of files by their names."""


def sealed(
    description: Mapping[str, Any], folder: Path | None = None, files: Sequence[str] = ()
) -> dict[str, Any]:
    """The description as plain values, with checksums as its last entries.

    Args:
        description: What JSON can hold.
        folder: Where the files lie that it describes.
        files: Their names.
    """
    rest = json.loads(json.dumps({k: v for k, v in description.items() if k != SEAL}))
    if folder is not None:
        rest[FILES] = {name: file_sha256(folder / name) for name in files}
    return {**rest, SEAL: _checksum(rest)}


def alteration(description: Mapping[str, Any], folder: Path | None = None) -> str | None:
    """Which file is not what it was when the description was sealed: a name, "" for itself.

    None where nothing was altered. Files that are missing are none.

    Raises:
        OSError: A file cannot be read.
    """
    rest = {key: value for key, value in description.items() if key != SEAL}
    if SEAL in description and description[SEAL] != _checksum(rest):
        return ""
    known = description.get(FILES, {}) if folder is not None else {}
    for name, checksum in known.items() if isinstance(known, dict) else ():
        # A description from elsewhere must not make hvit read outside its folder.
        if folder is None or Path(name).name != name or not (folder / name).is_file():
            continue
        if file_sha256(folder / name) != checksum:
            return str(name)
    return None


def file_sha256(path: Path) -> str:
    """SHA-256 of a whole file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _checksum(rest: Mapping[str, Any]) -> str:
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
