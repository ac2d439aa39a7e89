"""Files of JSON lines that grow by whole lines, each with a checksum of its own.

A process that is killed can tear the last line, and a disk can alter any: neither is a line for
the reader, and what is appended behind a torn line begins a line of its own. Lines from before
checksums were written are read without.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hvit_cli.errors import StorageError

_SEAL, _END = b', "crc32": "', b'"}'
_DIGITS = 8


def append_line(path: Path, record: Mapping[str, object]) -> None:
    """Adds a record as one line, flushed to disk before it returns.

    Args:
        path: The file; it and its folder are made where they are missing.
        record: Plain values, at least one.

    Raises:
        StorageError: The line cannot be written.
    """
    # A path that is no UTF-8 is told with question marks rather than not at all.
    text = json.dumps(record, ensure_ascii=False).encode(errors="replace")
    line = text[:-1] + _SEAL + _crc32(text) + _END + b"\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as file:
            end = file.seek(0, os.SEEK_END)
            if end:
                file.seek(end - 1)
                # A life of this process, or a full disk, may have torn the line before.
                line = line if file.read(1) == b"\n" else b"\n" + line
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise StorageError(
            "cannot be written",
            where=path,
            found=error.strerror or str(error),
            hint="another folder with -w or -o, or free some space",
        ) from error


def lines_of(content: bytes) -> Iterator[dict[str, Any]]:
    """The records of a file, or of a piece of one that ends with a line; no torn or altered one."""
    for line in content.split(b"\n")[:-1]:
        text = _unsealed(line)
        if text is None:
            continue
        try:
            record = json.loads(text.decode(errors="replace"))
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict):
            yield record


def _unsealed(line: bytes) -> bytes | None:
    """The text that was sealed; None where it is another one now."""
    before, seal, digits = line.removesuffix(_END).rpartition(_SEAL)
    if not seal or len(digits) != _DIGITS:
        return line
    text = before + b"}"
    return text if _crc32(text) == digits else None


def _crc32(text: bytes) -> bytes:
    return f"{zlib.crc32(text):08x}".encode()
