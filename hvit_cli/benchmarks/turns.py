"""Timing that can be trusted: everything takes turns, and medians are reported."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Generic, TypeVar

T = TypeVar("T")

Way = Callable[[], object]
"""One turn of what is timed."""

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Cold(Generic[T]):
    """A way that needs something new for each turn, whose making is not timed.

    Attributes:
        make: Makes it, such as a slide that has kept no pixels.
        run: One turn with it.
    """

    make: Callable[[], T]
    run: Callable[[T], object]

    def __call__(self) -> None:
        """Makes it and runs."""
        self.ready()()

    def ready(self) -> Way:
        """The turn, all but run."""
        made = self.make()
        return lambda: self.run(made)


def take_turns(
    ways: Mapping[str, Way], repeats: int, *, clock: Callable[[], float] = time.perf_counter
) -> dict[str, tuple[float, ...]]:
    """Times ways that take turns, so that a busy machine slows all of them alike.

    Every second round goes backwards, so that none profits from who ran before it.

    Args:
        ways: What is timed, each already warm, by name.
        repeats: Rounds.
        clock: Seconds.

    Returns:
        Seconds of every turn, by name.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for round_number in range(repeats):
        order: Sequence[str] = list(ways)
        for name in order if round_number % 2 == 0 else reversed(order):
            way = ways[name]
            turn = way.ready() if isinstance(way, Cold) else way
            started = clock()
            turn()
            seconds[name].append(clock() - started)
    return {name: tuple(turns) for name, turns in seconds.items()}


def ratio_of(
    dividend: Sequence[float], divisor: Sequence[float], factor: float = 1.0
) -> tuple[float, float, float]:
    """The ratio of two ways that took turns: median of its rounds, lowest and highest.

    Dividing round by round removes what slowed a whole round.
    """
    each = [factor * a / b for a, b in zip(dividend, divisor, strict=True)]
    return median(each), min(each), max(each)


def warm_up(ways: Mapping[str, Way]) -> dict[str, float | None]:
    """Runs each way once, untimed.

    Returns:
        By name, how far the memory of this process rose above where it stood before, in MiB;
        None where the system does not tell.
    """
    return {name: _growth(way) for name, way in ways.items()}


def _growth(way: Way) -> float | None:
    try:
        # Linux: 5 sets the highest resident size back to the present one.
        _CLEAR.write_text("5")
    except OSError:
        way()
        return None
    before = dict(_memory_mib())["VmRSS"]
    way()
    return max(dict(_memory_mib())["VmHWM"] - before, 0.0)


def _memory_mib() -> Iterator[tuple[str, float]]:
    for line in _STATUS.read_text().splitlines():
        name, _, value = line.partition(":")
        if name in ("VmRSS", "VmHWM"):
            yield name, int(value.split()[0]) / 1024
