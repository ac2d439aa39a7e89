"""Finer maps: the mean of several maps whose grids are shifted by fractions of a patch.

Each cell of the result is the mean over those grids whose patch around the cell's centre was
seen. A cell at the rim of what was seen is the mean of fewer, and no darker for it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from hvit_cli.heatmaps.maps import PatchMap, minmax, rank, rescale
from hvit_cli.heatmaps.stitch import patch_edges_level0
from hvit_cli.settings import GRADE_MAPS, Scale

# As in ranks of a single grid: closer values differ by float noise alone.
_SAME_DECIMALS = 6


def shifts(overlap: int) -> list[tuple[float, float]]:
    """The (x, y) shifts of `overlap`² grids, in patches; (0, 0) first."""
    steps = [i / overlap for i in range(overlap)]
    return [(x, y) for y in steps for x in steps]


def finer_cells(base: PatchMap, overlap: int) -> PatchMap:
    """A map without values whose cells divide the patches of `base`'s regions.

    Its tissue fractions are not known yet: all 0.
    """
    side, regions = base.side * overlap, len(base.region_xy_level0)
    cell_level0 = base.patch_level0 / overlap
    region = np.repeat(np.arange(regions), side**2)
    index = np.tile(np.arange(side**2), regions)
    row, column = np.divmod(index, side)
    offset = np.stack([column, row], axis=1) * cell_level0
    corner = np.floor(base.region_xy_level0[region] + offset + 0.5).astype(np.int64)
    cells = len(index)
    return dataclasses.replace(
        base,
        patch_level0=cell_level0,
        patch_xy_level0=corner,
        region_index=region,
        patch_index=index,
        tissue_fraction=np.zeros(cells, np.float32),
        visible=np.zeros(cells, bool),
        value=np.zeros(cells),
        grids=overlap**2,
    )


def patch_at(patch_map: PatchMap, xy_level0: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """(n,) row of the map whose patch holds each of the (n, 2) positions, -1 for none."""
    x_edge, y_edge = patch_edges_level0(patch_map)
    row_of = np.full((len(patch_map.region_xy_level0), patch_map.side**2), -1)
    row_of[patch_map.region_index, patch_map.patch_index] = np.arange(len(patch_map.value))
    found = np.full(len(xy_level0), -1)
    order = np.argsort(xy_level0[:, 0], kind="stable")
    x_sorted = xy_level0[order, 0]
    for m in range(len(row_of)):
        first, end = np.searchsorted(x_sorted, x_edge[m, [0, -1]], side="left")
        near = order[first:end]
        y = xy_level0[near, 1]
        near = near[(y >= y_edge[m, 0]) & (y < y_edge[m, -1])]
        column = np.searchsorted(x_edge[m], xy_level0[near, 0], side="right") - 1
        row = np.searchsorted(y_edge[m], xy_level0[near, 1], side="right") - 1
        found[near] = row_of[m, row * patch_map.side + column]
    return found


def mean_of_grids(maps: Sequence[PatchMap], overlap: int) -> PatchMap:
    """The mean of maps on one scale over cells of patch / overlap.

    Args:
        maps: At least one; the cells lie in the regions of the first.
        overlap: Cells along the side of a patch.

    Returns:
        A map of the same kind; its visible cells are those that some grid saw.
    """
    cells = finer_cells(maps[0], overlap)
    centre = cells.region_xy_level0[cells.region_index] + cells.patch_level0 * (
        np.stack([cells.patch_index % cells.side, cells.patch_index // cells.side], axis=1) + 0.5
    )
    total, count = np.zeros(len(centre)), np.zeros(len(centre), np.int64)
    for one in maps:
        row = patch_at(one, centre)
        seen = (row >= 0) & one.visible[row]
        total[seen] += one.value[row[seen]]
        count += seen
    visible = count > 0
    value = np.divide(total, count, out=np.full(len(centre), np.nan), where=visible)
    return dataclasses.replace(cells, visible=visible, value=value)


def mean_on_scale(maps: Sequence[PatchMap], overlap: int, scale: Scale) -> PatchMap:
    """The mean of raw maps, on the scale that is shown.

    Shares of attention are made comparable grid by grid, as multiples of uniform, before they
    are averaged; ranks and stretched values are those of the mean.
    """
    points = maps[0].quantity in GRADE_MAPS
    if scale == "raw" or points:
        mean = mean_of_grids([rescale(one, "raw") for one in maps], overlap)
    else:
        mean = mean_of_grids([rescale(one, "relative") for one in maps], overlap)
    if scale in ("rank", "minmax"):
        seen = mean.value[mean.visible].round(_SAME_DECIMALS)
        value = mean.value.copy()
        value[mean.visible] = rank(seen) if scale == "rank" else minmax(seen)
        mean = dataclasses.replace(mean, value=value)
    return mean
