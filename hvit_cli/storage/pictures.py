"""JPEG pictures that carry the checksum of themselves, in a comment that every viewer skips."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from hvit_cli.storage.atomic import write_bytes

_START = b"\xff\xd8"
_SAID = b"hvit sha256 "
_DIGITS = 64
# A comment's marker, and its length, which counts the two bytes of the length itself.
_COMMENT = b"\xff\xfe" + (2 + len(_SAID) + _DIGITS).to_bytes(2, "big") + _SAID


def write_jpeg(path: Path, picture: npt.NDArray[np.uint8], *, quality: int) -> None:
    """Writes an RGB picture, whole or not at all.

    Raises:
        StorageError: It cannot be written.
    """
    encoded = io.BytesIO()
    Image.fromarray(picture).save(encoded, "jpeg", quality=quality)
    content = encoded.getvalue()
    write_bytes(path, _START + _COMMENT + _checksum(content) + content[len(_START) :])


def is_unaltered_jpeg(path: Path) -> bool:
    """Whether a file is, byte for byte, a picture that `write_jpeg` wrote."""
    try:
        content = path.read_bytes()
    except OSError:
        return False
    before, rest = content[: len(_START + _COMMENT)], content[len(_START + _COMMENT) :]
    known, picture = rest[:_DIGITS], _START + rest[_DIGITS:]
    return before == _START + _COMMENT and known == _checksum(picture)


def _checksum(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()
