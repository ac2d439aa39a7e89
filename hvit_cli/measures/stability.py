"""Whether a map stays the same when what should not matter changes: rank correlation."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hvit_cli.heatmaps.grids import finer_cells, patch_at
from hvit_cli.heatmaps.maps import PatchMap
from hvit_cli.measures.comparable import values_of

Floats = npt.NDArray[np.float64]
_LEAST = 3


def agreement(one: PatchMap, other: PatchMap, *, hide_glass: bool, cells: int = 2) -> float | None:
    """Spearman's rank correlation of two raw maps of one slide, on tissue.

    Both are looked up at the centres of cells, patches of `one` divided `cells` times along each
    side, so that the grid of `other` may be shifted. Cells count where both maps show tissue.

    Returns:
        None with fewer than three such cells, or where one of the maps is constant on them.
    """
    first = values_of(one, hide_glass=hide_glass)
    second = values_of(other, hide_glass=hide_glass)
    grid = finer_cells(one, cells)
    column, row = grid.patch_index % grid.side, grid.patch_index // grid.side
    offset = (np.stack([column, row], axis=1) + 0.5) * grid.patch_level0
    centre = grid.region_xy_level0[grid.region_index] + offset
    at_one, at_other = patch_at(one, centre), patch_at(other, centre)
    both = (at_one >= 0) & (at_other >= 0)
    both[both] = first.on_tissue[at_one[both]] & second.on_tissue[at_other[both]]
    return rank_correlation(first.value[at_one[both]], second.value[at_other[both]])


def rank_correlation(a: Floats, b: Floats) -> float | None:
    """Spearman's: the correlation of ranks, ties sharing their mean rank."""
    if len(a) < _LEAST:
        return None
    ranks = [_mean_ranks(x) for x in (a, b)]
    centred = [r - r.mean() for r in ranks]
    norm = float(np.sqrt((centred[0] ** 2).sum() * (centred[1] ** 2).sum()))
    return float(centred[0] @ centred[1]) / norm if norm > 0 else None


def _mean_ranks(values: Floats) -> Floats:
    _, index, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return np.asarray((last - (count - 1) / 2)[index], np.float64)
