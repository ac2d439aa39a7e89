"""Whether a folder keeps the promises that whole files and claims are built on."""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np

from hvit_cli.errors import StorageError
from hvit_cli.health.check import Check
from hvit_cli.storage.atomic import write_text

_GB = 1e9
_LITTLE_SPACE = 5 * _GB
_LITTLE_MEMORY_GIB = 4.0
# Beyond this, times of files and of processes cannot be compared by eye.
_CLOCK_OFF_S = 5.0
_ELSEWHERE = "another folder with -w, on a local disk or a file system with POSIX semantics"


def check_space(folder: Path) -> Check:
    """Free space where the folder lies, or will lie."""
    usage = shutil.disk_usage(_existing(folder))
    found = f"{usage.free / _GB:.1f} GB free of {usage.total / _GB:.1f}"
    if usage.free < _LITTLE_SPACE:
        hint = "free some space, or another folder with -w"
        return Check(name="disk", state="beware", found=found, hint=hint)
    return Check(name="disk", state="fine", found=found)


def check_memory(available_bytes: int | None) -> Check:
    """Memory that can be had without swapping."""
    if available_bytes is None:
        return Check(name="memory", state="fine", found="not told by this system")
    gib = available_bytes / 1024**3
    found = f"{gib:.1f} GiB can be had"
    if gib < _LITTLE_MEMORY_GIB:
        hint = f"--jobs 1, and a machine with more than {_LITTLE_MEMORY_GIB:g} GiB for large slides"
        return Check(name="memory", state="beware", found=found, hint=hint)
    return Check(name="memory", state="fine", found=found)


def check_folder(folder: Path) -> Iterator[Check]:
    """Tries, below the folder, what hvit does there; everything is removed afterwards."""
    try:
        place = _existing(folder) / f".hvit-doctor-{secrets.token_hex(6)}"
        place.mkdir()
    except OSError as error:
        yield Check(
            name="output folder",
            state="broken",
            found=f"{folder} cannot be written to: {error.strerror}",
            hint=_ELSEWHERE,
        )
        return
    try:
        for name, attempt in _ATTEMPTS.items():
            yield _tried(name, attempt, place)
        yield _clock(place)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _tried(name: str, attempt: Callable[[Path], str], place: Path) -> Check:
    try:
        return Check(name=name, state="fine", found=attempt(place))
    except (OSError, StorageError, ValueError) as error:
        said = getattr(error, "strerror", None) or str(error)
        return Check(name=name, state="broken", found=said, hint=_ELSEWHERE)


def _rename(place: Path) -> str:
    file = place / "whole.txt"
    for text in ("one", "two"):
        write_text(file, text)
    if file.read_text() != "two" or len(list(place.iterdir())) != 1:
        raise ValueError("a file was not replaced by a rename")
    return "a file is flushed, and replaces another in one step"


def _exclusive(place: Path) -> str:
    file = place / "claim.json"
    for wins in (True, False):
        try:
            os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:
            if wins:
                raise
        else:
            if not wins:
                raise ValueError("two processes could claim one slide (O_EXCL)")
    return "one process alone can make a claim (O_EXCL)"


def _link(place: Path) -> str:
    source, target = place / "aside", place / "back"
    source.touch()
    os.link(source, target)
    return "a claim that was taken by mistake can be put back (link)"


def _lock(place: Path) -> str:
    file = place / "arrays.h5"
    values = np.arange(1000)
    with h5py.File(file, "w") as written:
        written["values"] = values
    with h5py.File(file, "r") as read:
        if not np.array_equal(read["values"][()], values):
            raise ValueError("HDF5 reads other numbers than were written")
    return "HDF5 writes, locks and reads"


def _names(place: Path) -> str:
    # Accents, spaces and 200 letters occur in names of slides.
    file = place / ("Ä é [1] " + "x" * 192)
    file.touch()
    upper, lower = place / "CASE", place / "case"
    upper.touch()
    same = lower.exists()
    return "long names and accents" + (", upper case is lower case here" if same else "")


def _clock(place: Path) -> Check:
    file = place / "clock"
    before = time.time()
    file.touch()
    off = file.stat().st_mtime - before
    found = f"the folder's clock is {abs(off):.1f} s {'ahead' if off > 0 else 'behind'}"
    if abs(off) > _CLOCK_OFF_S:
        hint = "synchronise the clocks (NTP); claims work all the same, times in logs mislead"
        return Check(name="clock", state="beware", found=found, hint=hint)
    return Check(name="clock", state="fine", found=found)


_ATTEMPTS: dict[str, Callable[[Path], str]] = {
    "rename and flush": _rename,
    "claims": _exclusive,
    "links": _link,
    "HDF5": _lock,
    "names": _names,
}


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    path = folder.absolute()
    while not path.is_dir():
        path = path.parent
    return path
