"""Files that are whole or absent: written beside their place, flushed, then renamed.

Every file that hvit writes goes through `whole_file`. A process killed at any moment leaves
either the old file, the new file, or a temporary whose name (`.hvit-tmp-…`) no reader takes
for a result, and which the next run that writes to the folder sweeps.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hvit_cli.errors import StorageError
from hvit_cli.storage.temporaries import PREFIX, sweep_once, temporary_beside

TEMPORARY_PREFIX = PREFIX


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`, and puts it in place when the block succeeds.

    The temporary keeps the suffix of `path`, because several writers choose their format by
    it. When the block raises, the temporary is removed and `path` stays as it was.

    Raises:
        StorageError: The folder cannot be made or written to, or the disk is full.
    """
    temporary = temporary_beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        mode, now = _usual(temporary)
        sweep_once(path.parent, now)
        yield temporary
        # Some writers (safetensors) make files that nobody else in a lab could read.
        temporary.chmod(mode)
        _flush(temporary)
        os.replace(temporary, path)  # noqa: PTH105 - the atomic one, named as in the design
        _flush(path.parent)
    except (OSError, RuntimeError) as error:
        _discard(temporary)
        reason = _refused(error)
        if reason is None:
            raise
        raise _unwritten(path, reason) from error
    except BaseException:
        _discard(temporary)
        raise


def require_writable(folder: Path) -> None:
    """Refuses a folder that nothing can be written to, before hours of work for it are done.

    Nothing stays behind. A folder that is not there yet is tried in the nearest one above it.

    Raises:
        StorageError: No file can be made there.
    """
    place = folder.absolute()
    try:
        while not place.exists() and place != place.parent:
            place = place.parent
        trial = temporary_beside(place / "writable")
        trial.touch()
        trial.unlink()
    except OSError as error:
        raise _unwritten(folder, error.strerror or str(error)) from error


def write_text(path: Path, text: str) -> None:
    """Writes `text` as UTF-8, whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_bytes(path: Path, content: bytes) -> None:
    """Writes `content`, whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_bytes(content)


def _unwritten(path: Path, reason: str) -> StorageError:
    return StorageError(
        "cannot be written",
        where=path,
        found=reason,
        hint="another folder with -w or -o, or free some space",
    )


def _usual(temporary: Path) -> tuple[int, float]:
    """The permissions that the user's umask gives to a new file here, and the folder's clock."""
    temporary.touch()
    found = temporary.stat()
    temporary.unlink()
    return stat.S_IMODE(found.st_mode), found.st_mtime


def _refused(error: OSError | RuntimeError) -> str | None:
    """Why the system refused to write; None for an error of another kind."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    # HDF5 says so when a file is closed: "…, errno = 28, error message = 'No space left …')".
    said = re.search(r"errno = (\d+)", str(error))
    return os.strerror(int(said[1])) if said else None


def _discard(temporary: Path) -> None:
    # The reason for giving up is already on its way to the user; a second failure here (the
    # folder does not exist, the disk is gone) must not replace it.
    with suppress(OSError):
        temporary.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    # A rename can reach the disk before the data it names; both are flushed, in order.
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
