"""Folders that may only be read, for root too, who otherwise may write anywhere."""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# linux/capability.h: what lets root pass by the permissions of files.
_VERSION_3 = 0x20080522
_DAC_OVERRIDE, _DAC_READ_SEARCH = 1, 2


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


@contextmanager
def as_ordinary_user() -> Iterator[None]:
    """Lets permissions hold for this thread, and those it starts, whoever it runs as.

    Raises:
        OSError: The system knows no capabilities.
    """
    if os.geteuid() != 0:
        yield
        return
    libc, header, sets = ctypes.CDLL(None, use_errno=True), _Header(_VERSION_3, 0), (_Sets * 2)()

    def put(effective: int) -> None:
        sets[0].effective = effective
        if libc.capset(ctypes.byref(header), sets):
            raise OSError(ctypes.get_errno(), "capabilities cannot be set")

    if libc.capget(ctypes.byref(header), sets):
        raise OSError(ctypes.get_errno(), "capabilities cannot be read")
    before = sets[0].effective
    put(before & ~(1 << _DAC_OVERRIDE | 1 << _DAC_READ_SEARCH))
    try:
        yield
    finally:
        put(before)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Takes the right to write to a folder, and to everything in it, from everybody."""
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.rglob("*"))}
    for path, mode in modes.items():
        path.chmod(mode & ~0o222)
    try:
        with as_ordinary_user():
            yield
    finally:
        for path, mode in modes.items():
            path.chmod(mode)
