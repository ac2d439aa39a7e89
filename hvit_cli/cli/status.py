"""`hvit status`."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hvit_cli.cli import console, options
from hvit_cli.errors import SomeSlidesFailedError

if TYPE_CHECKING:
    from hvit_cli.pipelines.status import StageStatus, StatusReader

_MOST_HELD = 12
_MOST_REASONS = 20


def status(
    work: Annotated[
        Path,
        typer.Argument(
            envvar="HVIT_WORK", help="Folder where masks, tiles, features and models live."
        ),
    ] = options.WORK_DEFAULT,
    watch: Annotated[
        bool, typer.Option("--watch", help="Look again and again until nothing is left to do.")
    ] = False,
    every: Annotated[
        float, typer.Option("--every", min=0.2, help="Seconds between two looks with --watch.")
    ] = 10.0,
    exclude: options.Exclude = None,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Say what is done, what failed and why, what is left, who works on it and until when."""
    from hvit_cli.pipelines.status import StatusReader

    reader = StatusReader(work, exclude)
    stages = _watched(reader, every) if watch else reader.stages()
    if as_json:
        console.say_json(stages)
    else:
        _say(stages, work)
    failed = sum(stage.failed for stage in stages)
    if failed:
        raise SomeSlidesFailedError(
            f"{failed} slides failed",
            where=work,
            hint="status.csv in the folder, which has every reason; the same command tries "
            "what may pass, --retry-failed all of them",
        )


def _watched(reader: StatusReader, every: float) -> list[StageStatus]:
    """Notes how far each stage is until nothing is pending."""
    said: list[str] = []
    while True:
        stages = reader.stages()
        lines = [_line(stage) for stage in stages]
        if lines != said:
            for line in lines:
                console.note(f"{time.strftime('%H:%M:%S')} {line}")
        said = lines
        if not any(stage.pending or stage.held for stage in stages):
            return stages
        time.sleep(every)


def _line(stage: StageStatus) -> str:
    ended = stage.done + stage.failed + sum(stage.without_result.values())
    parts = [f"{stage.stage} {ended}/{stage.planned}", f"{stage.failed} failed"]
    if stage.held:
        parts.append(f"{len(stage.held)} at work")
    if stage.pending and stage.seconds_left is not None:
        parts.append(f"{duration(stage.seconds_left)} left")
    return " · ".join(parts)


def _say(stages: Sequence[StageStatus], work: Path) -> None:
    if not stages:
        console.say(f"{work}: no slide was begun")
        return
    console.say_table(
        (
            "stage",
            "slides",
            "done",
            "without result",
            "failed",
            "pending",
            "excluded",
            "an hour",
            "left",
            "last line",
        ),
        (
            (
                stage.stage,
                stage.planned,
                stage.done,
                ", ".join(f"{count} {name}" for name, count in stage.without_result.items()) or 0,
                stage.failed,
                stage.pending,
                stage.excluded,
                console.number(stage.per_hour, 1),
                _time_left(stage),
                None if stage.silent_s is None else f"{duration(stage.silent_s)} ago",
            )
            for stage in stages
        ),
    )
    for stage in stages:
        for kind in stage.failures[:_MOST_REASONS]:
            more = ", …" if kind.count > len(kind.slides) else ""
            names = ", ".join(kind.slides) + more
            console.say(f"{stage.stage}: {kind.count} failed: {kind.reason} ({names})")
        rest = stage.failures[_MOST_REASONS:]
        if rest:
            slides = sum(kind.count for kind in rest)
            console.say(
                f"{stage.stage}: {slides} more failed for {len(rest)} other reasons: "
                f"{work / 'status.csv'}"
            )
        _say_held(stage)


def _time_left(stage: StageStatus) -> str | None:
    if not stage.pending:
        return None
    return "unknown" if stage.seconds_left is None else duration(stage.seconds_left)


def _say_held(stage: StageStatus) -> None:
    if len(stage.held) > _MOST_HELD:
        hosts = Counter(held.holder.rpartition(":")[0] for held in stage.held)
        for host, count in sorted(hosts.items()):
            console.say(f"{stage.stage}: {count} at work on {host}")
        return
    for held in stage.held:
        sign = f"last sign of life {duration(held.silent_s)} ago"
        state = f"stale, {sign}: the next run takes it over" if held.is_stale else sign
        console.say(f"{stage.stage}: {held.slide_id} at work by {held.holder} ({state})")


def duration(seconds: float) -> str:
    """A span of time in its two largest units, such as 3 h 20 min."""
    whole = round(seconds)
    for size, unit, smaller, name in (
        (86400, "d", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {unit}" + (f" {rest} {name}" if rest else "")
    return f"{whole} s"
