from __future__ import annotations

import numpy as np

from hvit_cli.tissue.morphology import (
    close_gaps,
    fill_holes,
    grow_from,
    remove_small,
    remove_thin,
)


def test_a_gap_narrower_than_the_disc_closes_and_a_wider_one_does_not() -> None:
    mask = np.zeros((60, 100), np.uint8)
    mask[10:50, 10:30] = 1
    mask[10:50, 36:56] = 1  # 6 px = 48 µm of glass
    mask[10:50, 76:96] = 1  # 20 px = 160 µm of glass
    closed = close_gaps(mask, diameter_um=64, spacing_um=8)
    assert closed[30, 30:36].all()
    assert not closed[30, 56:76].any()


def test_closing_keeps_every_pixel_and_adds_none_around_a_convex_shape() -> None:
    mask = np.zeros((40, 40), np.uint8)
    mask[0:20, 5:30] = 1  # touches the edge of the picture
    assert np.array_equal(close_gaps(mask, 100, 8), mask)


def test_closing_is_the_same_in_micrometres_at_another_spacing() -> None:
    coarse = np.zeros((40, 60), np.uint8)
    coarse[10:30, 5:25] = coarse[10:30, 30:50] = 1
    fine = coarse.repeat(2, 0).repeat(2, 1)
    for diameter_um in (24, 100):
        closed = close_gaps(coarse, diameter_um, 8)[20, 25:30].all()
        assert close_gaps(fine, diameter_um, 4)[40, 50:60].all() == closed == (diameter_um > 40)


def test_holes_are_filled_by_area_and_bays_at_the_edge_are_no_holes() -> None:
    mask = np.ones((50, 50), np.uint8)
    mask[10:15, 10:15] = 0  # 25 px of 64 µm² = 0.0016 mm²
    mask[20:40, 20:40] = 0  # 400 px = 0.0256 mm²
    mask[0:3, 45:48] = 0
    filled = fill_holes(mask, 0.01, 8)
    assert filled[12, 12] == 1
    assert filled[30, 30] == 0
    assert filled[1, 46] == 0


def test_small_components_go_and_diagonal_neighbours_count_together() -> None:
    mask = np.zeros((30, 30), np.uint8)
    mask[2:4, 2:4] = mask[4:6, 4:6] = 1  # 8 px together
    mask[20:22, 20:22] = 1  # 4 px alone
    kept = remove_small(mask, 8 * 64e-6, 8)
    assert kept[2:6, 2:6].sum() == 8
    assert kept[20:22, 20:22].sum() == 0


def test_a_long_scratch_goes_and_a_broad_shape_keeps_its_thin_tail() -> None:
    mask = np.zeros((60, 100), np.uint8)
    mask[5:8, :] = 1  # 24 µm wide
    mask[20:40, 10:30] = 1
    mask[30:32, 30:60] = 1
    kept = remove_thin(mask, 50, 8)
    assert not kept[5:8].any()
    assert kept[30:32, 30:60].all()


def test_nothing_and_everything_pass_unharmed() -> None:
    for mask in (np.zeros((9, 9), np.uint8), np.ones((9, 9), np.uint8)):
        assert np.array_equal(close_gaps(mask, 64, 8), mask)
        assert np.array_equal(remove_thin(mask, 50, 8), mask)
        assert np.array_equal(fill_holes(mask, 0, 8), mask)
        assert np.array_equal(remove_small(mask, 0, 8), mask)


def test_growth_takes_whole_components_that_hold_a_seed() -> None:
    domain = np.zeros((10, 20), np.uint8)
    domain[2:5, 2:8] = domain[2:5, 12:18] = 1
    seeds = np.zeros_like(domain)
    seeds[3, 3] = 1
    seeds[8, 15] = 1  # a seed outside the domain grows nowhere
    grown = grow_from(seeds, domain)
    assert grown[2:5, 2:8].all()
    assert grown.sum() == 18
