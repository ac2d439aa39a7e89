"""What a conversion of features would do: from the logs, and from a few slides that are tried."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from hvit_cli.errors import HvitError
from hvit_cli.slides.entry import SlideEntry
from hvit_cli.storage.status import read_status

# Each is read and regrouped in memory.
_TRIED = 5


@dataclass(frozen=True)
class ConvertedSlide:
    """What one slide would come to.

    Attributes:
        patches: Patches that would be written.
        bytes: Of their arrays.
    """

    patches: int
    bytes: int


@dataclass(frozen=True, kw_only=True)
class ConvertForecast:
    """What a conversion would do.

    Attributes:
        slides: Slides that were found.
        done: Those that the logs say are converted; the run itself checks.
        failed: Slides whose last try failed.
        pending: Slides that no run has ended.
        tried: Slides that were read and regrouped for the estimate, nothing of it kept.
        patches: Patches of all slides, by the mean of those tried; None where none could be.
        seconds: Time for failed and pending slides, as those tried took, without the writing.
        disk_bytes: Disk that they would take.
        free_bytes: Free disk where the files would lie.
        problems: What is wrong with slides that were tried, with their names.
    """

    slides: int
    done: int
    failed: int
    pending: int
    tried: int
    patches: int | None
    seconds: float | None
    disk_bytes: int | None
    free_bytes: int
    problems: tuple[str, ...]


def forecast_conversion(
    entries: Sequence[SlideEntry],
    convert: Callable[[SlideEntry], ConvertedSlide],
    *,
    stage: str,
    out: Path,
) -> ConvertForecast:
    """Tries a few slides, evenly chosen, in memory alone.

    Args:
        entries: The slides that were found.
        convert: Does everything for a slide but the writing.
        stage: Name of the stage in the logs.
        out: Where the files and the logs would lie.
    """
    rows = {row.slide_id: row for row in read_status(out) if row.stage == stage}
    ended = [rows[entry.slide_id] for entry in entries if entry.slide_id in rows]
    failed = sum(row.status == "failed" for row in ended)
    left = len(entries) - len(ended) + failed
    found, problems, seconds = [], [], []
    for entry in entries[:: max(1, len(entries) // _TRIED)][:_TRIED]:
        started = time.perf_counter()
        try:
            found.append(convert(entry))
        except HvitError as error:
            problems.append(str(error))
            continue
        seconds.append(time.perf_counter() - started)
    existing = out.absolute()
    while not existing.is_dir():
        existing = existing.parent
    return ConvertForecast(
        slides=len(entries),
        done=len(ended) - failed,
        failed=failed,
        pending=len(entries) - len(ended),
        tried=len(found),
        patches=round(len(entries) * fmean(one.patches for one in found)) if found else None,
        seconds=left * fmean(seconds) if found else None,
        disk_bytes=round(left * fmean(one.bytes for one in found)) if found else None,
        free_bytes=shutil.disk_usage(existing).free,
        problems=tuple(problems),
    )
