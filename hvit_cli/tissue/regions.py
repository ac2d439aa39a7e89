"""Where the regions of a slide lie.

Tissue components whose regions would overlap are merged into islands. Each island has its own
grid, anchored at the top-left corner of its bounding box, so that the grid of one core does
not cut another. Kept regions never overlap, whichever island they belong to.

A square of an island's grid is a region when it holds enough tissue of its own island, or
enough tissue that no such region holds: small fragments count together. A square with less is
no region and forces no merger: the last sliver of one core does not tie it to the next.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from hvit_cli.errors import TissueError
from hvit_cli.settings import TilingSettings
from hvit_cli.slides.geometry import ReadingPlan
from hvit_cli.slides.grid import Regions
from hvit_cli.tissue.bands import bands
from hvit_cli.tissue.coverage import Edges, count_pixels, first_pixel
from hvit_cli.tissue.mask import TissueMask

# A patch must be at least this many mask pixels wide, or its count says nothing.
_MIN_PX_PER_PATCH = 4
# Rectangles that share an edge up to this noise (level-0 pixels) do not overlap.
_TOUCHING = 1e-6


@dataclass(frozen=True, kw_only=True)
class RegionLayout:
    """The regions of one slide, and what they leave out.

    Attributes:
        kept: Regions with enough tissue, ordered by (y, x).
        rejected: Squares with too little tissue, in the same order. They may overlap kept
            regions and each other; their counts are of tissue outside kept regions.
        tissue_mm2: Area of all tissue of the slide.
        tissue_dropped_mm2: Area of the tissue outside every kept region.
        islands: Number of separate grids.
    """

    kept: Regions
    rejected: Regions
    tissue_mm2: float
    tissue_dropped_mm2: float
    islands: int


@dataclass(frozen=True, kw_only=True)
class _Cells:
    """Squares of grids that hold tissue.

    Attributes:
        origin_level0: (n, 2) top-left corners (x, y).
        island: (n,) numbers of their islands.
        own: (n,) tissue pixels of the island itself.
    """

    origin_level0: npt.NDArray[np.float64]
    island: npt.NDArray[np.int64]
    own: npt.NDArray[np.int64]

    def select(self, which: npt.NDArray[np.bool_] | npt.NDArray[np.int64]) -> _Cells:
        return _Cells(
            origin_level0=self.origin_level0[which],
            island=self.island[which],
            own=self.own[which],
        )


def lay_regions(
    mask: TissueMask,
    plan: ReadingPlan,
    tiling: TilingSettings,
    *,
    origin_level0: tuple[float, float] = (0.0, 0.0),
    shift_patches: tuple[float, float] = (0.0, 0.0),
) -> RegionLayout:
    """Lays the regions of a slide.

    Args:
        mask: Where the tissue is.
        plan: How the slide is read; it fixes the size of a region in level-0 pixels.
        tiling: Region, patch, grid and the least tissue fraction.
        origin_level0: A corner of the grid, for `grid="slide"` only.
        shift_patches: Moves every grid left and up by this much, (x, y) in patches: maps of
            several shifts together are finer than one.

    Raises:
        TissueError: The mask is too coarse to tell one patch from the next.
    """
    patch_level0 = tiling.patch_px * plan.level0_per_px
    region_level0 = patch_level0 * tiling.side
    _check_fine_enough(mask, patch_level0)
    steps = np.arange(tiling.side + 1, dtype=np.float64) * patch_level0
    if mask.is_empty:
        none = np.zeros(0, np.int64)
        cells, keep = _Cells(origin_level0=np.zeros((0, 2)), island=none, own=none), none > 0
    elif tiling.grid == "slide":
        x, y = (o - s * patch_level0 for o, s in zip(origin_level0, shift_patches, strict=True))
        cells = _slide_cells(mask, region_level0, (x, y))
        keep = _qualify(mask, cells, steps, tiling.min_tissue_fraction)
    else:
        shift_level0 = np.asarray(shift_patches) * patch_level0
        cells, keep = _island_cells(mask, steps, tiling.min_tissue_fraction, shift_level0)
    order = np.lexsort(np.round(cells.origin_level0, 3).T)
    cells, keep = cells.select(order), keep[order]
    kept = _counted(mask, cells.select(keep), steps, tiling)
    rest = _without(mask, cells.select(keep), region_level0)
    rejected = _counted(rest, cells.select(~keep), steps, tiling)
    return RegionLayout(
        kept=kept,
        rejected=rejected.select(rejected.tissue_count.sum(axis=1) > 0),
        tissue_mm2=mask.tissue_mm2,
        tissue_dropped_mm2=rest.tissue_mm2,
        islands=len(np.unique(cells.island)),
    )


def _check_fine_enough(mask: TissueMask, patch_level0: float) -> None:
    if max(mask.level0_per_px) * _MIN_PX_PER_PATCH > patch_level0 * 1.001:
        patch_um = patch_level0 * mask.spacing_um_level0
        raise TissueError(
            "the tissue mask is too coarse for the patches",
            found=f"{mask.spacing_um:.4g} µm per mask pixel",
            wanted=f"at most {patch_um / _MIN_PX_PER_PATCH:.4g} µm, a quarter of a patch",
            hint="a finer mask, or a larger --patch",
        )


def _slide_cells(
    mask: TissueMask, region_level0: float, origin_level0: tuple[float, float]
) -> _Cells:
    """Cells of one grid through `origin_level0` over the whole slide."""
    first = [-int(np.ceil(o / region_level0 - 1e-9)) for o in origin_level0]
    anchor = np.asarray(
        [[o + f * region_level0 for o, f in zip(origin_level0, first, strict=True)]]
    )
    return _occupied(mask, mask.pixels, np.zeros(1, np.int64), anchor, region_level0)


def _island_cells(
    mask: TissueMask,
    steps: Edges,
    min_tissue_fraction: float,
    shift_level0: npt.NDArray[np.float64],
) -> tuple[_Cells, npt.NDArray[np.bool_]]:
    """Cells of every island's own grid, components merged until no two regions overlap."""
    region_level0 = float(steps[-1])
    count, found, stats, _ = cv2.connectedComponentsWithStats(mask.pixels, connectivity=8)
    labels = np.asarray(found, np.int32)
    top_left = stats[1:, [cv2.CC_STAT_LEFT, cv2.CC_STAT_TOP]].astype(np.float64)
    island_of_component = np.arange(count - 1)
    while True:
        corner = np.full((count - 1, 2), np.inf)
        np.minimum.at(corner, island_of_component, top_left)
        anchor = corner * np.asarray(mask.level0_per_px) - shift_level0
        cells = _occupied(mask, labels, island_of_component, anchor, region_level0)
        keep = _qualify(mask, cells, steps, min_tissue_fraction)
        pairs = _overlapping(cells.select(keep), region_level0)
        if not pairs:
            return cells, keep
        island_of_component = _merge(island_of_component, pairs)


def _qualify(
    mask: TissueMask,
    cells: _Cells,
    steps: Edges,
    min_tissue_fraction: float,
) -> npt.NDArray[np.bool_]:
    """Which cells are regions: (n,) bool."""
    _, pixels = _count_at(mask, cells, steps[[0, -1]])
    # Not a rounded fraction decides but counts, with room for the noise of 0.1 · pixels.
    enough = min_tissue_fraction * pixels[:, 0, 0] - 1e-6
    strong = cells.own >= enough
    left_over = _without(mask, cells.select(strong), float(steps[-1]))
    uncovered, _ = _count_at(left_over, cells, steps[[0, -1]])
    return np.asarray(strong | (uncovered[:, 0, 0] >= np.maximum(enough, 1)), bool)


def _without(mask: TissueMask, cells: _Cells, region_level0: float) -> TissueMask:
    """The tissue that lies in none of the cells."""
    pixels = mask.pixels.copy()
    edges = cells.origin_level0[:, None, :] + np.asarray([[0.0], [region_level0]])
    columns = np.maximum(first_pixel(edges[..., 0], mask.level0_per_px[0]), 0)
    rows = np.maximum(first_pixel(edges[..., 1], mask.level0_per_px[1]), 0)
    for (top, bottom), (left, right) in zip(rows, columns, strict=True):
        pixels[top:bottom, left:right] = 0
    return replace(mask, pixels=pixels)


def _occupied(
    mask: TissueMask,
    labels: npt.NDArray[np.uint8] | npt.NDArray[np.int32],
    island_of_component: npt.NDArray[np.int64],
    anchor: npt.NDArray[np.float64],
    region_level0: float,
) -> _Cells:
    """The cells, of the grids anchored at `anchor` (islands, 2), that hold tissue.

    Args:
        mask: The mask.
        labels: (h, w) number of the component that each of its pixels belongs to, from 1 on.
        island_of_component: Island of component 1, 2, and so on.
        anchor: (islands, 2) corner of each island's grid.
        region_level0: Side of a cell.
    """
    x, y = mask.level0_per_px
    n_columns, n_rows = (
        int(np.max(mask.size_level0[axis] - anchor[:, axis]) / region_level0) + 2 for axis in (0, 1)
    )
    codes, counts = [], []
    for band in bands(labels.shape):
        rows, columns = np.nonzero(labels[band])
        island = island_of_component[labels[band][rows, columns].astype(np.int64) - 1]
        column = _cell_of(columns, anchor[island, 0], x, region_level0)
        row = _cell_of(rows + band.start, anchor[island, 1], y, region_level0)
        code, own = np.unique((island * n_rows + row) * n_columns + column, return_counts=True)
        codes.append(code)
        counts.append(own)
    code, part_of = np.unique(np.concatenate(codes), return_inverse=True)
    own = np.zeros(len(code), np.int64)
    np.add.at(own, part_of, np.concatenate(counts))
    island_row, column = np.divmod(code, n_columns)
    island, row = np.divmod(island_row, n_rows)
    origin = anchor[island] + np.stack([column, row], axis=1) * region_level0
    return _Cells(origin_level0=origin, island=island, own=own)


def _cell_of(
    index: npt.NDArray[np.int64],
    anchor_level0: npt.NDArray[np.float64],
    level0_per_px: float,
    region_level0: float,
) -> npt.NDArray[np.int64]:
    """Number of the cell along one axis that holds each pixel's centre."""
    centre = (index + 0.5) * level0_per_px
    cell = np.floor((centre - anchor_level0) / region_level0).astype(np.int64)
    # The quotient carries float noise; the edges decide, by the same rule as the counts.
    cell += index >= first_pixel(anchor_level0 + (cell + 1) * region_level0, level0_per_px)
    cell -= index < first_pixel(anchor_level0 + cell * region_level0, level0_per_px)
    return cell


def _overlapping(cells: _Cells, region_level0: float) -> list[tuple[int, int]]:
    """Pairs of different islands of which some cells overlap."""
    pairs: set[tuple[int, int]] = set()
    order = np.argsort(cells.origin_level0[:, 1], kind="stable")
    origin, island = cells.origin_level0[order], cells.island[order]
    reach = region_level0 - _TOUCHING
    last = np.searchsorted(origin[:, 1], origin[:, 1] + reach, side="left")
    for i, end in enumerate(last):
        near = slice(i + 1, end)
        hit = np.abs(origin[near, 0] - origin[i, 0]) < reach
        hit &= island[near] != island[i]
        pairs.update((int(island[i]), int(other)) for other in np.unique(island[near][hit]))
    return sorted(pairs)


def _merge(
    island_of_component: npt.NDArray[np.int64], pairs: list[tuple[int, int]]
) -> npt.NDArray[np.int64]:
    """Islands after uniting the pairs; an island is called by its lowest component."""
    merged = island_of_component.copy()
    for a, b in pairs:
        first, second = int(merged[a]), int(merged[b])
        merged[merged == max(first, second)] = min(first, second)
    return merged


def _counted(mask: TissueMask, cells: _Cells, steps: Edges, tiling: TilingSettings) -> Regions:
    tissue, pixels = _count_at(mask, cells, steps)
    return Regions(
        origin_level0=cells.origin_level0,
        patch_level0=float(steps[1]),
        region_px=tiling.region_px,
        patch_px=tiling.patch_px,
        tissue_count=tissue.reshape(-1, tiling.side**2),
        pixel_count=pixels.reshape(-1, tiling.side**2),
    )


def _count_at(
    mask: TissueMask, cells: _Cells, steps: Edges
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Tissue and all pixels of each cell, cut at `steps` along both axes."""
    x, y = cells.origin_level0[:, 0, None], cells.origin_level0[:, 1, None]
    return count_pixels(mask, x + steps, y + steps)
