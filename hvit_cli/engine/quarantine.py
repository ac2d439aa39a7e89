"""Slides that failed as often as they may: left alone until somebody asks for them again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hvit_cli.engine.attempt import OWN
from hvit_cli.slides.entry import SlideEntry
from hvit_cli.storage.status import logged, status_logs


@dataclass(frozen=True)
class Failures:
    """The tries of one slide that failed since it was last done.

    Attributes:
        count: How many there were.
        reason: Why the last one failed.
        moment: When that was, seconds since 1970.
    """

    count: int
    reason: str
    moment: float


def failures(work: Path, stage: str) -> dict[str, Failures]:
    """Counts the failed tries of every slide at one stage, from the logs of all runs.

    Tries that failed for a reason that does not lie with the slide (a full disk, settings, a
    missing mask) do not count.
    """
    tries: dict[str, list[tuple[float, str | None]]] = {}
    for log in status_logs(work):
        for moment, entry in logged(log.read_bytes()):
            if entry["stage"] != stage:
                continue
            failed = entry["status"] == "failed"
            if not failed or entry.get("cause") in OWN:
                reason = str(entry.get("reason", "")) if failed else None
                tries.setdefault(str(entry["slide_id"]), []).append((moment, reason))
    found = {}
    for slide_id, ended in tries.items():
        ended.sort(key=lambda one: one[0])
        since = 0
        for _, reason in reversed(ended):
            if reason is None:
                break
            since += 1
        if since:
            moment, last = ended[-1]
            found[slide_id] = Failures(since, last or "", moment)
    return found


def unchanged_since(
    entries: Sequence[SlideEntry], failed: dict[str, Failures]
) -> dict[str, Failures]:
    """The failures of these slides whose file was not changed since."""
    kept = {}
    for entry in entries:
        known = failed.get(entry.slide_id)
        if known is not None and not _changed_since(entry.path, known.moment):
            kept[entry.slide_id] = known
    return kept


def _changed_since(path: Path, moment: float) -> bool:
    try:
        return path.stat().st_mtime > moment
    except OSError:
        return False  # it is gone or cannot be reached, which its next try would say
