"""What a run left, beside what an undisturbed one left."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

TEMPORARY = ".hvit-tmp-"
# Seconds, and whether a product was found or made, depend on when the run was killed.
_VARYING = {"seconds", "reason", "patches_per_s"}
_REMARK = re.compile(rb'"reason":"[^"]*",')


def stats_of(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Every file below a folder that somebody may be writing to, by its name in the folder."""
    # Files that are renamed, and folders that are removed, meanwhile are not there.
    for place, _, names in os.walk(folder):
        for path in (Path(place) / name for name in names):
            with suppress(FileNotFoundError):
                yield str(path.relative_to(folder)), path.stat()


def files_of(folder: Path) -> set[str]:
    """The names of every file below a folder."""
    return {name for name, _ in stats_of(folder)}


def differences(undisturbed: Path, disturbed: Path) -> list[str]:
    """Everything in which the second folder is not as the first, but for the logs of each."""
    found = []
    one, two = (
        {name for name in files_of(folder) if not name.startswith("status/")}
        for folder in (undisturbed, disturbed)
    )
    found += [f"{name} is left over" for name in sorted(two - one)]
    found += [f"{name} is missing" for name in sorted(one - two)]
    for name in sorted(one & two):
        if _content(undisturbed / name) != _content(disturbed / name):
            found.append(f"{name} differs")
    torn = {name for name in files_of(disturbed) if TEMPORARY in name}
    return found + [f"{name} was not swept" for name in sorted(torn - two)]


def _content(path: Path) -> object:
    """Bytes; of tables and records, everything but times and remarks."""
    content = path.read_bytes()
    if path.suffix == ".csv":
        rows = csv.DictReader(io.StringIO(content.decode()))
        return [{k: v for k, v in row.items() if k not in _VARYING} for row in rows]
    if path.suffix == ".json":
        return _without_times(json.loads(content))
    return _REMARK.sub(b"", content) if path.suffix == ".html" else content


def _without_times(value: object) -> object:
    if isinstance(value, dict):
        return {k: _without_times(v) for k, v in value.items() if k not in _VARYING}
    return [_without_times(v) for v in value] if isinstance(value, list) else value
