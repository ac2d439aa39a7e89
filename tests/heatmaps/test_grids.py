from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from hvit_cli.heatmaps.grids import mean_of_grids, mean_on_scale, patch_at, shifts
from hvit_cli.heatmaps.maps import PatchMap


def shifted(make_map, overlap: int, **how: object) -> list[PatchMap]:
    """Maps of one slide with two regions, their grids moved up and left."""
    maps = []
    for number, (x, y) in enumerate(shifts(overlap)):
        corners = [(400 - round(x * 100), 400 - round(y * 100))]
        corners.append((corners[0][0] + 400, corners[0][1]))
        maps.append(make_map(corners, side=4, patch_level0=100.0, seed=number, **how))
    return maps


def test_shifts_are_even_fractions_of_a_patch_and_begin_with_none() -> None:
    assert shifts(1) == [(0, 0)]
    assert shifts(2) == [(0, 0), (0.5, 0), (0, 0.5), (0.5, 0.5)]
    assert len(set(shifts(4))) == 16


@pytest.mark.parametrize("attention", ["masked", "plain"])
@pytest.mark.parametrize("overlap", [1, 2, 4])
def test_a_constant_map_stays_constant_at_all_sides(make_map, overlap: int, attention) -> None:
    maps = [
        dataclasses.replace(one, value=np.where(one.visible, 0.7, 0.0))
        for one in shifted(make_map, overlap, attention=attention)
    ]
    mean = mean_of_grids(maps, overlap)
    assert mean.visible.any()
    np.testing.assert_allclose(mean.value[mean.visible], 0.7, rtol=1e-12)
    assert np.isnan(mean.value[~mean.visible]).all()
    if attention == "plain":
        # The last rows and columns are seen by the first grid at least.
        assert mean.visible.all()


@pytest.mark.parametrize("overlap", [2, 4])
def test_every_cell_is_the_mean_of_the_grids_that_saw_it(make_map, overlap: int) -> None:
    maps = shifted(make_map, overlap)
    mean = mean_of_grids(maps, overlap)
    cell = 100 / overlap
    for n in range(len(mean.value)):
        x, y = mean.patch_xy_level0[n] + cell / 2
        seen = []
        for one in maps:
            for (left, top), visible, value in zip(
                one.patch_xy_level0, one.visible, one.value, strict=True
            ):
                if visible and left <= x < left + 100 and top <= y < top + 100:
                    seen.append(value)
        assert mean.visible[n] == bool(seen)
        if seen:
            assert mean.value[n] == pytest.approx(np.mean(seen), rel=1e-12)


def test_one_grid_alone_is_the_map_itself(make_map) -> None:
    one = make_map([(0, 0), (400, 0)])
    mean = mean_of_grids([one], 1)
    np.testing.assert_array_equal(mean.visible, one.visible)
    np.testing.assert_array_equal(mean.value[one.visible], one.value[one.visible])
    np.testing.assert_array_equal(mean.patch_xy_level0, one.patch_xy_level0)


def test_the_mean_of_relative_maps_averages_one_where_every_grid_saw_all(make_map) -> None:
    maps = [make_map([(0, 0)], side=4, attention="plain", seed=seed) for seed in range(3)]
    mean = mean_on_scale(maps, 1, "relative")
    assert mean.value.mean() == pytest.approx(1)
    ranked = mean_on_scale(maps, 1, "rank")
    assert ranked.value[np.argmax(mean.value)] == pytest.approx(15 / 16)
    stretched = mean_on_scale(maps, 1, "minmax")
    assert (stretched.value.min(), stretched.value.max()) == (0, 1)


def test_positions_outside_every_region_belong_to_no_patch(make_map) -> None:
    one = make_map([(100, 100)])
    at = np.array([[99.9, 150.0], [100.0, 100.0], [499.9, 499.9], [500.0, 120.0], [120.0, 500.0]])
    assert patch_at(one, at).tolist() == [-1, 0, 15, -1, -1]
