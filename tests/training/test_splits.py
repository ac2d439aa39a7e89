from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hvit_cli.training.groups import straddling
from hvit_cli.training.splits import draw_parts


def cohort(slides: int, classes: int, seed: int = 0) -> dict[str, tuple[object, ...]]:
    rng = np.random.default_rng(seed)
    return {f"s{i}": (int(rng.integers(classes)), str(rng.integers(2))) for i in range(slides)}


@settings(max_examples=40, deadline=None)
@given(
    slides=st.integers(5, 120),
    classes=st.integers(1, 6),
    parts=st.integers(2, 5),
    seed=st.integers(0, 5),
)
def test_single_slides_fill_every_part_evenly(
    slides: int, classes: int, parts: int, seed: int
) -> None:
    strata = {i: (label,) for i, (label, _) in cohort(slides, classes, seed).items()}
    part_of = draw_parts(strata, {}, [1 / parts] * parts, seed)
    assert part_of.keys() == strata.keys()
    for label in range(classes):
        ids = [i for i, (value,) in strata.items() if value == label]
        counts = Counter(part_of[i] for i in ids)
        # Equal slides can always be dealt out to within one.
        assert max(abs(counts[p] - len(ids) / parts) for p in range(parts)) <= 1


@pytest.mark.parametrize("seed", range(4))
def test_groups_stay_whole_and_shares_are_kept(seed: int) -> None:
    strata = cohort(1500, 6, seed)
    rng = np.random.default_rng([seed, 7])
    group_of = {i: f"g{int(rng.zipf(1.7))}" for i in strata if rng.random() < 0.4}
    group_of = {i: g for i, g in group_of.items() if Counter(group_of.values())[g] < 100}
    shares = [0.1, 0.3, 0.3, 0.3]
    part_of = draw_parts(strata, group_of, shares, seed)
    assert not straddling(group_of, {i: str(part) for i, part in part_of.items()})
    for part, share in enumerate(shares):
        ids = [i for i in strata if part_of[i] == part]
        assert abs(len(ids) - share * 1500) <= 3
        for column in (0, 1):
            for value, count in Counter(v[column] for v in strata.values()).items():
                here = sum(strata[i][column] == value for i in ids)
                assert abs(here - share * count) <= 3


def test_the_draw_depends_on_the_seed_and_not_on_the_order() -> None:
    strata = cohort(200, 6)
    group_of = {f"s{i}": f"g{i // 3}" for i in range(60)}
    turned = dict(reversed(strata.items()))
    renamed = dict(reversed(group_of.items()))
    first = draw_parts(strata, group_of, [0.2] * 5, 3)
    assert draw_parts(turned, renamed, [0.2] * 5, 3) == first
    assert draw_parts(strata, group_of, [0.2] * 5, 4) != first
