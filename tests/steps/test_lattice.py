from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hvit_cli.errors import StorageError
from hvit_cli.steps.lattice import fit_lattice


@given(
    step=st.integers(100, 1200),
    origin=st.tuples(st.integers(0, 5000), st.integers(0, 5000)),
    cells=st.sets(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=1, max_size=60),
)
@settings(max_examples=60, deadline=None)
def test_every_patch_is_back_at_its_place(
    step: int, origin: tuple[int, int], cells: set[tuple[int, int]]
) -> None:
    xy = np.asarray(sorted(cells)) * step + np.asarray(origin)
    lattice = fit_lattice(xy, step, where="slide")
    assert lattice.step_level0 == step
    assert all(0 <= o < step for o in lattice.origin_level0)
    np.testing.assert_array_equal(lattice.cell * step + np.asarray(lattice.origin_level0), xy)
    assert lattice.cell.min() >= 0


def test_a_step_that_trident_rounded_down_is_corrected() -> None:
    # 256 px from 37x to 20x: TRIDENT states 256 · 37 // 20 = 473 and moves by round(473.6).
    cell = np.asarray([(column, row) for column in range(9) for row in range(7)])
    found = fit_lattice(cell * 474, 256 * 37 // 20, where="slide", rounded_down=True)
    assert found.step_level0 == 474
    with pytest.raises(StorageError, match="not lie on one lattice"):
        fit_lattice(cell * 474, 256 * 37 // 20, where="slide")


def test_an_unknown_step_is_the_smallest_distance_in_a_row_or_column() -> None:
    xy = np.asarray([(0, 0), (1536, 0), (0, 1024), (512, 1024)])
    lattice = fit_lattice(xy, None, where="slide")
    assert (lattice.step_level0, lattice.stated) == (512, False)


def test_contours_with_grids_of_their_own_are_refused_with_their_coordinates() -> None:
    one = np.asarray([(100 + 512 * i, 40 + 512 * j) for i in range(4) for j in range(3)])
    other = np.asarray([(9001 + 512 * i, 77) for i in range(2)])
    with pytest.raises(StorageError) as caught:
        fit_lattice(np.concatenate([one, other]), 512, where="biopsy7: coords")
    said = str(caught.value)
    assert said.startswith("biopsy7: coords: the patches do not lie on one lattice")
    assert "2 of 14 patches off it, such as (9001, 77), (9513, 77)" in said
    assert "steps of 512 from (100, 40)" in said


def test_two_patches_at_one_place_are_refused() -> None:
    xy = np.asarray([(0, 0), (512, 0), (512, 0), (1024, 0)])
    with pytest.raises(StorageError, match=r"2 at \(512, 0\); 1 patches too many"):
        fit_lattice(xy, 512, where="slide")


def test_a_single_patch_does_not_tell_its_size() -> None:
    with pytest.raises(StorageError, match="--patch-level0"):
        fit_lattice(np.asarray([(512, 512)]), None, where="slide")
