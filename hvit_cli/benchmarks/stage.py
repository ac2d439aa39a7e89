"""A stage of the work, what it is measured against, and the arithmetic of the results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from hvit_cli.benchmarks.turns import Way


@dataclass(frozen=True, kw_only=True)
class Limit:
    """What a stage cannot be faster than on this machine.

    Attributes:
        name: What it is, for people to read.
        way: Name of the timed way that shows it.
        amount: How much of the stage's unit a turn of that way stands for.
    """

    name: str
    way: str
    amount: float


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage, ready to be timed alone.

    Attributes:
        name: Its name, and that of its way.
        unit: What its throughput counts, such as Mpx.
        run: One turn.
        amount: Units that a turn handles.
        per_slide: Units of one whole slide.
        limit: What it is measured against, if there is something.
        contains: The stage whose work is also done in a turn of this one.
        of_slide: Whether it is part of the way from a slide to its map.
    """

    name: str
    unit: str
    run: Way
    amount: float
    per_slide: float
    limit: Limit | None = None
    contains: str = ""
    of_slide: bool = True


@dataclass(frozen=True, kw_only=True)
class StageResult:
    """What was measured of one stage.

    Attributes:
        name: The stage.
        unit: What its throughput counts.
        rate: Units a second, median of the turns, the stage alone.
        fewest: Units a second of its slowest turn.
        most: Units a second of its fastest turn.
        seconds_per_slide: Seconds for one slide, without the stage that it contains.
        share: Part of the sum over all stages of a slide; None for a stage outside of it.
        memory_mib: How far the process's memory rose in its first turn; None where unknown.
        limit: What it is measured against, or "".
        limit_rate: Units a second at that limit.
        share_of_limit: Its rate over the limit's, round by round.
    """

    name: str
    unit: str
    rate: float
    fewest: float
    most: float
    seconds_per_slide: float
    share: float | None
    memory_mib: float | None
    limit: str
    limit_rate: float | None
    share_of_limit: float | None


def stage_results(
    stages: Sequence[Stage],
    seconds: Mapping[str, Sequence[float]],
    memory_mib: Mapping[str, float | None],
) -> tuple[StageResult, ...]:
    """Rates, shares of the time of a slide, and shares of the limits.

    Args:
        stages: The stages, in the order they are reported.
        seconds: Seconds of every turn, by stage and by way of a limit.
        memory_mib: By stage.
    """
    gross = {s.name: median(seconds[s.name]) * s.per_slide / s.amount for s in stages}
    net = {s.name: max(gross[s.name] - gross.get(s.contains, 0.0), 0.0) for s in stages}
    total = sum(net[s.name] for s in stages if s.of_slide)
    results = []
    for stage in stages:
        turns, limit = seconds[stage.name], stage.limit
        limit_rate = share_of_limit = None
        if limit is not None:
            limit_rate = limit.amount / median(seconds[limit.way])
            share_of_limit = median(
                (stage.amount / mine) / (limit.amount / other)
                for mine, other in zip(turns, seconds[limit.way], strict=True)
            )
        results.append(
            StageResult(
                name=stage.name,
                unit=stage.unit,
                rate=stage.amount / median(turns),
                fewest=stage.amount / max(turns),
                most=stage.amount / min(turns),
                seconds_per_slide=net[stage.name],
                share=net[stage.name] / total if stage.of_slide else None,
                memory_mib=memory_mib.get(stage.name),
                limit="" if limit is None else limit.name,
                limit_rate=limit_rate,
                share_of_limit=share_of_limit,
            )
        )
    return tuple(results)


def bottleneck_of(results: Sequence[StageResult]) -> str:
    """The stage that takes the greatest part of a slide's time."""
    return max(results, key=lambda result: result.share or 0.0).name
