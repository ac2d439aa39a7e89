"""Kills every kind of writer at exact points of its work, and looks at what lies there afterwards.

    python tests/faults/kill_points.py

A child is forked for each point. It kills itself (SIGKILL) before or after a call to the system,
or is killed by the system (SIGXFSZ) as soon as the file grows past a number of bytes. Then the
file must be the old one or the new one, and the same writer, started again, must leave the new
one alone in its folder.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openslide  # noqa: F401 - before torch
import torch

from hvit_cli.errors import StorageError
from hvit_cli.storage import atomic
from hvit_cli.storage.arrays import write_arrays
from hvit_cli.storage.atomic import whole_file, write_text
from hvit_cli.storage.lines import append_line, lines_of
from hvit_cli.storage.pictures import write_jpeg
from hvit_cli.storage.states import write_state
from hvit_cli.storage.tables import write_table
from hvit_cli.storage.weights import write_weights
from hvit_cli.tissue.mask import mask_over_slide, write_mask

Write = Callable[[Path, int], None]
POINTS = (
    *("before the first byte", "before chmod", "before fsync of the file"),
    *("after fsync of the file", "before rename", "after rename", "before fsync of the folder"),
    "after fsync of the folder",
)
SHARES = (0.0, 0.3, 0.7, 0.99)
"""Of the file's bytes; one byte more is one too many."""


def _array(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2, (300, 400), dtype=np.uint8)


def _hdf5(path: Path, seed: int) -> None:
    write_arrays(path, {"a": _array(seed)}, {"kind": "k", "schema": 1})


def _mask(path: Path, seed: int) -> None:
    mask = mask_over_slide(_array(seed), (4000, 3000), 0.5, "segmented")
    with whole_file(path) as temporary:
        write_mask(temporary, mask, {"seed": seed})


def _jpeg(path: Path, seed: int) -> None:
    write_jpeg(path, np.stack([_array(seed) * 255] * 3, axis=-1), quality=85)


def _state(path: Path, seed: int) -> None:
    write_state(path, {"a": torch.from_numpy(_array(seed))})


def _weights(path: Path, seed: int) -> None:
    write_weights(path, {"a": torch.from_numpy(_array(seed))})


def _text(path: Path, seed: int) -> None:
    write_text(path, f"{seed}\n" * 5000)


def _csv(path: Path, seed: int) -> None:
    write_table(path, ("a", "b"), [{"a": seed, "b": n} for n in range(500)])


WRITERS: dict[str, tuple[str, Write]] = {
    "text": ("a.json", _text),
    "table": ("a.csv", _csv),
    "HDF5": ("a.h5", _hdf5),
    "TIFF": ("a.tiff", _mask),
    "JPEG": ("a.jpg", _jpeg),
    "state": ("a.pt", _state),
    "safetensors": ("a.safetensors", _weights),
}


def _end() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _arm(point: str) -> None:
    """Makes this process kill itself at a point of `whole_file`."""
    flush, replace, usual, flushed = atomic._flush, os.replace, atomic._usual, []
    when, _, what = point.partition(" ")

    def flushing(path: Path) -> None:
        meant = "fsync of the folder" if flushed else "fsync of the file"
        flushed.append(path)
        if (when, what) == ("before", meant):
            _end()
        flush(path)
        if (when, what) == ("after", meant):
            _end()

    def replacing(source: Any, target: Any) -> None:
        if point == "before rename":
            _end()
        replace(source, target)
        if point == "after rename":
            _end()

    def first(temporary: Path) -> tuple[int, float]:
        found = usual(temporary)
        if point == "before the first byte":
            _end()
        return found

    atomic._flush, atomic._usual, os.replace = flushing, first, replacing
    if point == "before chmod":
        Path.chmod = lambda *_: _end()  # type: ignore[method-assign,assignment,misc]


def _limit(size: int) -> None:
    """Lets the system kill this process when a file grows past `size` bytes."""
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def killed(write: Callable[[], None], arm: Callable[[], None]) -> bool:
    """Writes in a child that `arm` has prepared; whether it was killed."""
    child = os.fork()
    if child == 0:
        try:
            arm()
            write()
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def trials(name: str) -> Iterator[tuple[str, bool, list[str]]]:
    """Each point at which a writer is killed: whether it was, and what was wrong afterwards."""
    file, write = WRITERS[name]
    with tempfile.TemporaryDirectory() as folder:
        content = {}
        for seed in (1, 2):
            path = Path(folder) / f"whole{seed}" / file
            # In a child, because some libraries cannot be used on both sides of a fork.
            killed(lambda path=path, seed=seed: write(path, seed), lambda: None)  # type: ignore[misc]
            content[seed] = path.read_bytes()
        arms: list[tuple[str, Callable[[], None]]] = [
            (point, lambda point=point: _arm(point))
            for point in POINTS  # type: ignore[misc]
        ]
        for share in SHARES:
            size = int(share * len(content[2]))
            arms.append((f"at byte {size}", lambda size=size: _limit(size)))  # type: ignore[misc]
        for number, (point, arm) in enumerate(arms):
            for old in (False, True):
                place = Path(folder) / f"{number}-{old}" / file
                place.parent.mkdir()
                if old:
                    place.write_bytes(content[1])
                was = killed(lambda place=place: write(place, 2), arm)  # type: ignore[misc]
                found = place.read_bytes() if place.exists() else None
                wrong = []
                if found not in (content[1] if old else None, content[2]):
                    wrong.append("neither the old nor the new file lies there")
                killed(lambda place=place: write(place, 2), lambda: None)  # type: ignore[misc]
                if place.read_bytes() != content[2]:
                    wrong.append("the file that was written again is another")
                left = sorted(path.name for path in place.parent.iterdir())
                if left != [file]:
                    wrong.append(f"left over: {left}")
                yield f"{point}, {'over a file' if old else 'the first time'}", was, wrong


def refusals(name: str) -> Iterator[tuple[str, bool, list[str]]]:
    """The same places of a file, where the disk takes no more: an error of ours in one line."""
    file, write = WRITERS[name]
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "whole" / file
        killed(lambda: write(whole, 2), lambda: None)
        for share in SHARES:
            size = int(share * whole.stat().st_size)
            place = Path(folder) / str(size) / file
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
                    write(place, 2)
                except StorageError as error:
                    code = 0 if str(place) in str(error) else 2
                finally:
                    os._exit(code)
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            wrong = [] if code == 0 else [f"no clear line: {code}"]
            left = sorted(path.name for path in place.parent.iterdir())
            yield f"no room behind byte {size}", True, wrong + [f"left over: {f}" for f in left]


def log_trials() -> Iterator[tuple[str, bool, list[str]]]:
    """The same for a line of a log, torn at every tenth byte."""
    lines = [{"a": 1, "text": "x" * 40}, {"a": 2, "text": "y" * 40}, {"a": 3}]
    with tempfile.TemporaryDirectory() as folder:
        append_line(Path(folder) / "0.jsonl", lines[0])
        first = (Path(folder) / "0.jsonl").read_bytes()
        for byte in range(0, len(first), 10):
            path = Path(folder) / f"{byte}-killed.jsonl"
            path.write_bytes(first)
            was = killed(
                lambda path=path: append_line(path, lines[1]),  # type: ignore[misc]
                lambda byte=byte: _limit(len(first) + byte),  # type: ignore[misc]
            )
            append_line(path, lines[2])
            found = list(lines_of(path.read_bytes()))
            wrong = [] if found in ([lines[0], lines[2]], lines) else [f"found {found}"]
            yield f"line torn at byte {byte}", was, wrong


def main() -> int:
    """Prints a table of kills and what became of them."""
    failed = 0
    for name in (*WRITERS, "log"):
        found = list(log_trials() if name == "log" else trials(name))
        full = [] if name == "log" else list(refusals(name))
        refused = sum(not wrong for _, _, wrong in full)
        hits = [(point, wrong) for point, was, wrong in found if was]
        faults = [(point, wrong) for point, _, wrong in found + full if wrong]
        survived = sum(not wrong for _, wrong in hits)
        print(f"{name:12} killed {len(hits):3} of {len(found):3} survived {survived:3}", end="")  # noqa: T201
        print(f"  full {len(full)} told in one line {refused}")  # noqa: T201
        for point, wrong in faults:
            print(f"    {point}: {'; '.join(wrong)}")  # noqa: T201
        failed += len(faults) + (len(hits) < len(found))
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
