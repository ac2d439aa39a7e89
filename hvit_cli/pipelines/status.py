"""`hvit status`: what the runs on a work folder have done, what failed and why, what is left."""

from __future__ import annotations

import re
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hvit_cli.engine.claims import Claim, read_claims
from hvit_cli.errors import StorageError
from hvit_cli.slides.table import read_slide_ids
from hvit_cli.storage.plan import planned_stages, read_plan
from hvit_cli.storage.status import logged, status_logs

# In the order in which a slide meets them; others follow by name.
_ORDER = ("segment", "tile", "embed", "predict", "heatmap")
# A pause longer than this, beyond what the next slide took, is no part of a run's rate.
_PAUSE_S = 600.0
_RECENT_S = 3600.0
_MOST_NAMED = 5
_CLAIM_IS_OLD_S = 300.0


@dataclass(frozen=True)
class FailureKind:
    """Slides that failed for one reason.

    Attributes:
        reason: The reason, `…` where the slide's own path or name stood.
        count: How many slides there are.
        slides: The first of them, by name.
    """

    reason: str
    count: int
    slides: tuple[str, ...]


@dataclass(frozen=True)
class HeldSlide:
    """A slide that a process is working on.

    Attributes:
        slide_id: The slide.
        holder: The process, as host:pid.
        silent_s: Seconds since its last sign of life.
        is_stale: Whether that is so long ago that the next run will take the slide over.
    """

    slide_id: str
    holder: str
    silent_s: float
    is_stale: bool


@dataclass(frozen=True, kw_only=True)
class StageStatus:
    """What has become of the slides of one stage.

    Attributes:
        stage: segment, tile, embed, predict, heatmap, …
        planned: Slides that runs were asked for, without those excluded.
        done: Slides with a result.
        without_result: Slides that hold nothing to work on, by status (no_tissue, no_region, …).
        failed: Slides whose last try failed.
        pending: Slides that no run has ended yet, those that are being worked on included.
        excluded: Slides that are left out on purpose.
        failures: Failed slides by reason, the most frequent first.
        held: Slides that are being worked on.
        per_hour: Slides that were ended in an hour, by all processes together, counted over at
            most the last hour before the last line; None where nothing was done.
        seconds_left: Time the pending slides take at that rate; None where it is not known.
        silent_s: Seconds since the last line; None where there is none.
    """

    stage: str
    planned: int
    done: int
    without_result: dict[str, int]
    failed: int
    pending: int
    excluded: int
    failures: tuple[FailureKind, ...]
    held: tuple[HeldSlide, ...]
    per_hour: float | None
    seconds_left: float | None
    silent_s: float | None


@dataclass(frozen=True, slots=True)
class _Ended:
    """The latest line of a slide; a hundred thousand of these are held."""

    moment: float
    status: str
    reason: str
    path: str


class StatusReader:
    """Reads a work folder again and again, each time only what was added to its logs.

    Args:
        work: The work folder.
        exclude: Table of slides that do not count.
        claim_ttl_s: Silence after which a claim is stale, as the runs were told.

    Raises:
        StorageError: There is no such folder, or no run has worked in it.
        ManifestError: The table of exclusions cannot be read.
    """

    def __init__(
        self, work: Path, exclude: Path | None = None, claim_ttl_s: float = _CLAIM_IS_OLD_S
    ) -> None:
        if not (work / "status").is_dir():
            raise StorageError(
                "no run has worked in this folder",
                where=work,
                wanted="a folder that hvit was given with -w",
            )
        self.work = work
        self.claim_ttl_s = claim_ttl_s
        self._excluded = read_slide_ids(exclude) if exclude is not None else frozenset()
        self._read: dict[Path, int] = {}
        self._latest: dict[str, dict[str, _Ended]] = {}
        # (moment, seconds) of the lines that say work, by stage.
        self._worked: dict[str, list[tuple[float, float]]] = {}

    def stages(self) -> list[StageStatus]:
        """Every stage that has a list of slides, a line or a claim.

        Raises:
            StorageError: A list cannot be read.
        """
        self._catch_up()
        claims = self.work / "claims"
        claimed = {folder.name for folder in claims.glob("*") if folder.is_dir()} - {"tables"}
        known = set(self._latest) | planned_stages(self.work) | claimed
        ordered = [stage for stage in _ORDER if stage in known] + sorted(known - set(_ORDER))
        return [self._stage(stage, read_claims(claims / stage)) for stage in ordered]

    def _catch_up(self) -> None:
        for log in status_logs(self.work):
            with log.open("rb") as file:
                file.seek(self._read.get(log, 0))
                content = file.read()
            whole = content[: content.rfind(b"\n") + 1]
            self._read[log] = self._read.get(log, 0) + len(whole)
            for moment, line in logged(whole):
                self._note(moment, line)

    def _note(self, moment: float, line: dict[str, Any]) -> None:
        stage, slide_id = str(line["stage"]), str(line["slide_id"])
        reason = str(line.get("reason", ""))
        ended = _Ended(
            moment, sys.intern(str(line["status"])), sys.intern(reason), str(line.get("path", ""))
        )
        latest = self._latest.setdefault(stage, {})
        if slide_id not in latest or moment >= latest[slide_id].moment:
            latest[slide_id] = ended
        if not reason.startswith("reused"):
            seconds = line.get("seconds")
            took = float(seconds) if isinstance(seconds, int | float) else 0.0
            self._worked.setdefault(stage, []).append((moment, took))

    def _stage(self, stage: str, claims: Sequence[tuple[Claim, float]]) -> StageStatus:
        plan = read_plan(self.work, stage)
        every, latest = plan.wanted, self._latest.get(stage, {})
        excluded = self._excluded | plan.excluded
        counted = {name: ended for name, ended in latest.items() if name not in excluded}
        planned = (every.keys() | counted.keys()) - excluded
        statuses = Counter(ended.status for ended in counted.values())
        done, failed = statuses.pop("done", 0), statuses.pop("failed", 0)
        pending = len(planned) - len(counted)
        per_hour = rate_per_hour(self._worked.get(stage, ()))
        last = max((ended.moment for ended in latest.values()), default=None)
        return StageStatus(
            stage=stage,
            planned=len(planned),
            done=done,
            without_result=dict(sorted(statuses.items())),
            failed=failed,
            pending=pending,
            excluded=len(excluded & (latest.keys() | every.keys() | plan.excluded)),
            failures=_by_reason(counted),
            held=tuple(
                HeldSlide(claim.slide_id, claim.holder, max(0.0, age), age > self.claim_ttl_s)
                for claim, age in claims
            ),
            per_hour=per_hour,
            seconds_left=pending * 3600.0 / per_hour if per_hour else None,
            silent_s=None if last is None else max(0.0, time.time() - last),
        )


def rate_per_hour(worked: Iterable[tuple[float, float]]) -> float | None:
    """Slides ended in an hour, over the last stretch without a pause and at most an hour of it.

    Args:
        worked: When slides were ended (seconds since 1970) and how long each took.
    """
    ended = sorted(worked)
    if not ended:
        return None
    last = ended[-1][0]
    count, first = 0, last
    for moment, seconds in reversed(ended):
        if moment < last - _RECENT_S or moment + seconds + _PAUSE_S < first:
            break
        count, first = count + 1, min(first, moment - seconds)
    return count * 3600.0 / (last - first) if last > first else None


def _by_reason(ended: dict[str, _Ended]) -> tuple[FailureKind, ...]:
    kinds: dict[str, list[str]] = {}
    for slide_id, end in sorted(ended.items()):
        if end.status == "failed":
            kinds.setdefault(_general(end.reason, slide_id, end.path), []).append(slide_id)
    ordered = sorted(kinds.items(), key=lambda kind: (-len(kind[1]), kind[0]))
    return tuple(
        FailureKind(reason, len(slides), tuple(slides[:_MOST_NAMED])) for reason, slides in ordered
    )


def _general(reason: str, slide_id: str, path: str) -> str:
    """The reason without what names this slide, so that equal reasons are counted together."""
    if path:
        reason = reason.replace(path, "…")
    # As a file's name alone: a slide may be called like a word of the reason.
    reason = re.sub(rf"(?<=/){re.escape(slide_id)}(?=[-_./])", "…", reason)
    for own in (f"{slide_id}: ", "…: "):
        reason = reason.removeprefix(own)
    return reason or "(no reason was written)"
