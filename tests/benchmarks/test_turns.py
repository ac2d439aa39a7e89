from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from hvit_cli.benchmarks.turns import Cold, ratio_of, take_turns, warm_up


class Clock:
    """Tells times that the ways themselves set."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_ways_take_turns_and_every_second_round_goes_backwards() -> None:
    order: list[str] = []
    ways = {name: lambda name=name: order.append(name) for name in "abc"}
    seconds = take_turns(ways, 3)
    assert "".join(order) == "abccbaabc"
    assert {name: len(turns) for name, turns in seconds.items()} == {"a": 3, "b": 3, "c": 3}


def test_what_is_made_for_a_turn_is_not_timed() -> None:
    clock, made = Clock(), iter("xyz")

    def make() -> str:
        clock.now += 100
        return next(made)

    used: list[str] = []

    def run(thing: str) -> None:
        clock.now += 2
        used.append(thing)

    assert take_turns({"cold": Cold(make, run)}, 3, clock=clock) == {"cold": (2, 2, 2)}
    assert used == ["x", "y", "z"]


def test_a_ratio_is_formed_round_by_round() -> None:
    # A round that was slowed threefold leaves the ratio as it is.
    assert ratio_of((1, 3, 1.2), (2, 6, 2), factor=2) == pytest.approx((1, 1, 1.2))


def test_memory_that_a_way_takes_is_seen_also_when_it_is_given_back() -> None:
    def take() -> None:
        np.ones(1 << 28, np.uint8).sum()

    growth = warm_up({"take": take, "nothing": lambda: None})
    if growth["take"] is None:
        pytest.skip("this system does not tell")
    assert growth["take"] > 200
    assert growth["nothing"] is not None
    assert growth["nothing"] < 50


def test_a_cold_way_is_warmed_up_with_a_thing_of_its_own() -> None:
    things: Iterator[int] = iter(range(2))
    used: list[int] = []
    warm_up({"cold": Cold(lambda: next(things), used.append)})
    assert used == [0]
