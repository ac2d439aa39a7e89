from __future__ import annotations

import numpy as np

from hvit_cli.settings import AggregatorSettings
from hvit_cli.training.benchmark import (
    ALL_SLOTS,
    PACKED,
    BenchmarkSettings,
    draw_slides,
    run_benchmark,
)

SMALL = BenchmarkSettings(
    slides=6,
    regions=(1, 3),
    repeats=2,
    sizes=AggregatorSettings(
        patch_dim=8, region_dim=16, region_depth=2, region_heads=2, slide_dim=16, slide_heads=2,
        dropout=0,
    ),
)  # fmt: skip


def test_slides_hold_the_share_of_background_that_was_asked_for() -> None:
    slides = draw_slides(BenchmarkSettings(slides=60, sizes=SMALL.sizes))
    assert 0.57 < 1 - np.mean([float(s.visible.float().mean()) for s in slides]) < 0.63
    assert {len(s.features) for s in slides} == set(range(3, 11))


def test_all_ways_compute_the_same_loss_and_are_timed_in_turns() -> None:
    # run_benchmark refuses to compare ways whose losses differ.
    result = run_benchmark(SMALL)
    assert {len(seconds) for seconds in result.seconds.values()} == {2}
    assert result.ratio[PACKED] == 1
    assert result.ratio[ALL_SLOTS] == result.median[ALL_SLOTS] / result.median[PACKED]
    assert result.patches[0] == result.regions * 64
