"""Temporaries of files that are being written, and those that killed processes left behind.

A temporary lies beside the file that it will become and is called
`.hvit-tmp-<system>-<process>-<start>-<random>-<name>`. By this name whoever next writes to the
folder knows whether the process that made it still lives: one of this system that does not is
swept at once. Of another system nothing is known but the age; a file that nobody has written to
for a day is nobody's.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import secrets
import shutil
import threading
from contextlib import suppress
from functools import cache
from pathlib import Path

from hvit_cli.storage.processes import start_of, this_system

PREFIX = ".hvit-tmp-"
NOBODYS_AGE_S = 24 * 3600.0
"""Age of the last write from which on a temporary of another machine is swept."""

_LOG = logging.getLogger(__name__)
_MAKER = re.compile(re.escape(PREFIX) + r"([0-9a-f]{8})-(\d+)-(\d+)-")
_LONGEST_NAME = 80

_swept: set[tuple[int, str]] = set()
_lock = threading.Lock()


def temporary_beside(path: Path) -> Path:
    """A name that nobody else takes, in the folder of `path` and with its suffix."""
    process = os.getpid()
    maker = f"{_system8()}-{process}-{start_of(process) or 0}"
    return path.parent / f"{PREFIX}{maker}-{secrets.token_hex(4)}-{path.name[-_LONGEST_NAME:]}"


def sweep_once(folder: Path, now: float) -> None:
    """Removes what killed processes left in a folder, the first time this process writes to it.

    Args:
        folder: The folder.
        now: The time on the clock that stamps its files.
    """
    key = os.getpid(), os.path.realpath(folder)
    with _lock:
        if key in _swept:
            return
        _swept.add(key)
    swept = sweep(folder, now)
    if swept:
        _LOG.info("%s: removed %d unfinished files of runs that were killed", folder, len(swept))


def sweep(folder: Path, now: float) -> list[Path]:
    """Removes the temporaries of a folder that no living process will finish.

    Args:
        folder: The folder; those below it are left as they are.
        now: The time on the clock that stamps its files.

    Returns:
        What was removed.
    """
    swept = []
    with os.scandir(folder) as found:
        names = [entry.name for entry in found if entry.name.startswith(PREFIX)]
    for name in names:
        path = folder / name
        # Its owner, or another that sweeps, may take it away meanwhile; what cannot be removed
        # harms nobody, and the files of this run are written all the same.
        with suppress(OSError):
            if _is_nobodys(path, now):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
                swept.append(path)
    return swept


def _is_nobodys(path: Path, now: float) -> bool:
    maker = _MAKER.match(path.name)
    if maker is not None and this_system() and maker[1] == _system8():
        return start_of(int(maker[2])) != maker[3]
    return now - path.stat().st_mtime > NOBODYS_AGE_S


@cache
def _system8() -> str:
    return hashlib.sha256(this_system().encode()).hexdigest()[:8]
