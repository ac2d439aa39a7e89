from __future__ import annotations

import pytest

from hvit_cli.benchmarks.stage import Limit, Stage, bottleneck_of, stage_results

SECONDS = {
    "read": (0.1, 0.1, 0.1),
    "decode": (0.5, 0.4, 0.6),
    "jpeg": (0.25, 0.4, 0.3),
    "embed": (8.0, 2.0, 4.0),
    "train": (1.0, 1.0, 1.0),
}


def nothing() -> None: ...


STAGES = [
    Stage(name="read", unit="MB", run=nothing, amount=5, per_slide=5),
    Stage(
        name="decode",
        unit="Mpx",
        run=nothing,
        amount=20,
        per_slide=20,
        limit=Limit(name="library", way="jpeg", amount=20),
        contains="read",
    ),
    Stage(name="embed", unit="patches", run=nothing, amount=10, per_slide=30),
    Stage(name="train", unit="slides", run=nothing, amount=4, per_slide=1, of_slide=False),
]


def test_shares_of_a_slide_add_up_to_one_and_stages_beside_it_have_none() -> None:
    results = {r.name: r for r in stage_results(STAGES, SECONDS, {})}
    shares = [results[name].share for name in ("read", "decode", "embed")]
    assert sum(share for share in shares if share is not None) == pytest.approx(1)
    assert results["train"].share is None
    assert results["train"].rate == 4


def test_work_that_a_stage_contains_counts_once() -> None:
    results = {r.name: r for r in stage_results(STAGES, SECONDS, {})}
    # Half a second in the median, of which a tenth is reading.
    assert results["decode"].seconds_per_slide == pytest.approx(0.4)
    # Three times as many patches as in a turn of four seconds.
    assert results["embed"].seconds_per_slide == pytest.approx(12)
    assert bottleneck_of(tuple(results.values())) == "embed"


def test_the_share_of_a_limit_is_the_median_of_the_rounds() -> None:
    decode = stage_results(STAGES, SECONDS, {"decode": 3.0})[1]
    assert decode.limit == "library"
    assert decode.rate == pytest.approx(20 / 0.5)
    assert decode.limit_rate == pytest.approx(20 / 0.3)
    # 0.25 / 0.5, 0.4 / 0.4 and 0.3 / 0.6.
    assert decode.share_of_limit == pytest.approx(0.5)
    assert decode.memory_mib == 3.0
    assert decode.fewest == pytest.approx(20 / 0.6)
    assert decode.most == pytest.approx(20 / 0.4)
