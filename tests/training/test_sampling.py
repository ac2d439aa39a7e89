from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hvit_cli.training.sampling import batches, dropout_seed, epoch_order

PANDA = [2892, 2666, 1343, 1242, 1249, 1224]


def test_weighted_sampling_shows_every_grade_equally_often() -> None:
    grade = np.repeat(np.arange(6), PANDA)
    order = epoch_order(grade.tolist(), weighted=True, seed=0, epoch=1)
    share = np.bincount(grade[order], minlength=6) / len(grade)
    # Binomial standard deviation of a share of 1/6 in 10,616 draws: 0.0036.
    assert len(order) == len(grade)
    assert np.abs(share - 1 / 6).max() < 4 * 0.0036


def test_slides_of_one_grade_are_drawn_equally_often() -> None:
    grade = [0] * 5 + [3]
    drawn = np.concatenate(
        [epoch_order(grade, weighted=True, seed=1, epoch=e) for e in range(2000)]
    )
    share = np.bincount(drawn, minlength=6) / len(drawn)
    np.testing.assert_allclose(share, [0.1] * 5 + [0.5], atol=0.02)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=50), st.integers(0, 9), st.integers(1, 9))
def test_unweighted_sampling_shows_every_slide_once(
    grade: list[int], seed: int, epoch: int
) -> None:
    order = epoch_order(grade, weighted=False, seed=seed, epoch=epoch)
    assert sorted(order.tolist()) == list(range(len(grade)))


def test_order_is_a_function_of_seed_and_epoch() -> None:
    grade = list(range(6)) * 10
    orders = {
        (seed, epoch): epoch_order(grade, weighted=True, seed=seed, epoch=epoch).tolist()
        for seed in range(3)
        for epoch in range(1, 4)
    }
    assert len({tuple(order) for order in orders.values()}) == 9
    again = epoch_order(grade, weighted=True, seed=2, epoch=1).tolist()
    assert again == orders[2, 1]
    assert len({dropout_seed(seed, epoch) for seed, epoch in orders}) == 9


@given(st.integers(1, 70), st.integers(1, 40))
def test_batches_hold_every_draw_in_order(slides: int, size: int) -> None:
    order = np.arange(slides)[::-1].copy()
    cut = list(batches(order, size))
    np.testing.assert_array_equal(np.concatenate(cut), order)
    assert {len(part) for part in cut[:-1]} <= {size}
    assert 1 <= len(cut[-1]) <= size
