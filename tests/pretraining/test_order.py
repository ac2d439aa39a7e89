from __future__ import annotations

from collections import Counter

import numpy as np

from hvit_cli.pretraining.order import PatchOrder

FIRST = np.array([0, 5, 5 + 17, 5 + 17 + 1, 5 + 17 + 1 + 40])


def test_a_pass_is_a_permutation_and_depends_on_seed_and_number() -> None:
    passes = [PatchOrder(FIRST, seed).one_pass(number) for seed in (0, 1) for number in (0, 1)]
    for one in passes:
        assert sorted(one) == list(range(63))
    assert len({tuple(one) for one in passes}) == 4
    assert np.array_equal(passes[0], PatchOrder(FIRST, 0).one_pass(0))


def test_batches_run_on_from_pass_to_pass_and_every_patch_comes_equally_often() -> None:
    order = PatchOrder(FIRST, 3, window=2)
    steps = [order.patches(step * 7, 7) for step in range(18)]
    assert set(Counter(np.concatenate(steps).tolist()).values()) == {2}
    # Whoever resumes at a step reads what the others read, whatever they read before.
    assert np.array_equal(PatchOrder(FIRST, 3, window=2).patches(11 * 7, 7), steps[11])


def test_a_batch_may_reach_over_several_passes() -> None:
    order = PatchOrder(np.array([0, 3]), 0)
    drawn = order.patches(2, 8)
    assert np.array_equal(drawn, np.concatenate([order.one_pass(n) for n in range(4)])[2:10])
    assert len(order.patches(0, 0)) == 0


def test_a_window_holds_so_many_slides_at_a_time() -> None:
    first = np.arange(0, 21 * 10, 10)
    slides = PatchOrder(first, 0, window=4).one_pass(5) // 10
    for start in range(0, 200, 40):
        part = slides[start : start + 40]
        assert Counter(part.tolist()) == dict.fromkeys(part.tolist(), 10)
        # Mixed: the first ten patches are not those of one slide.
        assert len(set(part[:10].tolist())) > 1


def test_without_a_window_all_slides_are_mixed() -> None:
    first = np.arange(0, 101 * 10, 10)
    slides = PatchOrder(first, 0, window=None).one_pass(0) // 10
    assert len(set(slides[:100].tolist())) > 50


def test_slides_take_every_place_of_a_pass_equally_often() -> None:
    first = np.arange(0, 9 * 4, 4)
    early = Counter(
        int(patch) // 4
        for number in range(400)
        for patch in PatchOrder(first, 0, window=2).one_pass(number)[:8]
    )
    # 400 passes × 8 of 32 patches: each slide 400 times on average, sd below 35.
    assert all(260 < early[slide] < 540 for slide in range(8))
