"""From one number per patch to a raster of the slide, at the picture's own resolution.

A picture pixel belongs to the patch that holds its centre. Nothing is ever laid out at
level 0, so memory follows the picture and not the slide.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hvit_cli.heatmaps.maps import PatchMap


@dataclass(frozen=True, kw_only=True)
class PictureFrame:
    """A picture of the whole slide: its size, and the slide's.

    Attributes:
        size_px: (width, height) of the picture.
        size_level0: (width, height) of the slide in level-0 pixels.
    """

    size_px: tuple[int, int]
    size_level0: tuple[int, int]

    @property
    def level0_per_px(self) -> tuple[float, float]:
        """Level-0 pixels per picture pixel, (x, y)."""
        return (
            self.size_level0[0] / self.size_px[0],
            self.size_level0[1] / self.size_px[1],
        )

    def px_from_level0(self, edge_level0: npt.ArrayLike, axis: int) -> npt.NDArray[np.int64]:
        """The first picture pixel whose centre lies at or beyond a level-0 edge.

        Two neighbours that share an edge so share no pixel and leave none out.

        Args:
            edge_level0: Positions along x (axis 0) or y (axis 1).
            axis: 0 for x, 1 for y.
        """
        edge_px = np.asarray(edge_level0, np.float64) / self.level0_per_px[axis]
        first = np.ceil(edge_px - 0.5).astype(np.int64)
        return np.clip(first, 0, self.size_px[axis])


def _next_edge(
    end_level0: npt.NDArray[np.float64],
    along: npt.NDArray[np.int64],
    across: npt.NDArray[np.int64],
) -> npt.NDArray[np.float64]:
    # A region ends where the next one of its row begins, if there is one: both corners were
    # rounded once, and corner + side may miss the neighbour's corner by a pixel.
    starts = set(zip(along.tolist(), across.tolist(), strict=True))
    for i, (end, other) in enumerate(zip(end_level0.tolist(), across.tolist(), strict=True)):
        near = [x for x in range(int(end) - 1, int(end) + 3) if (x, other) in starts]
        if near:
            end_level0[i] = min(near, key=lambda x: abs(x - end))
    return end_level0


def patch_edges_level0(
    patch_map: PatchMap,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Where the columns and rows of patches begin and end in every region.

    Stored coordinates are kept; patches without a row get theirs from the region's corner.

    Returns:
        x edges and y edges, (M, side + 1) each, in level-0 pixels.
    """
    side = patch_map.side
    corner = patch_map.region_xy_level0
    offset = np.arange(side + 1) * patch_map.patch_level0
    row, column = np.divmod(patch_map.patch_index, side)
    edges = []
    for axis, place in ((0, column), (1, row)):
        edge = corner[:, axis, None] + offset[None]  # (M, side + 1)
        edge[patch_map.region_index, place] = patch_map.patch_xy_level0[:, axis]
        edge[:, side] = _next_edge(edge[:, side], corner[:, axis], corner[:, 1 - axis])
        edges.append(edge)
    return edges[0], edges[1]


def stitch(
    patch_map: PatchMap,
    frame: PictureFrame,
    *,
    shown: npt.NDArray[np.bool_] | None = None,
    smooth: bool = False,
) -> npt.NDArray[np.float32]:
    """Paints every visible patch's value into a raster of the slide.

    Args:
        patch_map: The values.
        frame: The picture.
        shown: (P,) bool, the visible patches to paint; nothing paints all of them. Patches
            that are visible and not shown take no part in smoothing either.
        smooth: Blend between the centres of neighbouring patches of the same region. Which
            pixels are painted does not change.

    Returns:
        (height, width) float32; NaN where nothing is painted.
    """
    width, height = frame.size_px
    raster = np.full((height, width), np.nan, np.float32)
    paint = patch_map.visible if shown is None else patch_map.visible & shown
    x_level0, y_level0 = patch_edges_level0(patch_map)
    x_px, y_px = frame.px_from_level0(x_level0, 0), frame.px_from_level0(y_level0, 1)
    order = np.argsort(patch_map.region_index, kind="stable")
    bounds = np.searchsorted(
        patch_map.region_index[order], np.arange(len(patch_map.region_xy_level0) + 1)
    )
    for m in range(len(patch_map.region_xy_level0)):
        rows = order[bounds[m] : bounds[m + 1]]
        rows = rows[paint[rows]]
        if not len(rows):
            continue
        grid = np.full((patch_map.side, patch_map.side), np.nan)
        grid.flat[patch_map.patch_index[rows]] = patch_map.value[rows]
        x, y = x_px[m], y_px[m]
        cells = np.repeat(np.repeat(grid, np.diff(y), axis=0), np.diff(x), axis=1)
        if smooth:
            cells = _smoothed(
                grid, cells, _centres(frame, y, 1), _centres(frame, x, 0), y_level0[m], x_level0[m]
            )
        target = raster[y[0] : y[-1], x[0] : x[-1]]
        np.copyto(target, cells.astype(np.float32), where=~np.isnan(cells))
    return raster


def _centres(
    frame: PictureFrame, edge_px: npt.NDArray[np.int64], axis: int
) -> npt.NDArray[np.float64]:
    pixels = np.arange(edge_px[0], edge_px[-1])
    return (pixels + 0.5) * frame.level0_per_px[axis]


def _tent(
    position: npt.NDArray[np.float64], edge: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    # (n, side) weights of linear interpolation between patch centres; beyond the outermost
    # centres the nearest patch keeps full weight.
    centre = (edge[:-1] + edge[1:]) / 2
    place = np.interp(position, centre, np.arange(len(centre)))
    distance = np.abs(place[:, None] - np.arange(len(centre))[None])
    return np.asarray(np.maximum(1 - distance, 0))


def _smoothed(
    grid: npt.NDArray[np.float64],
    cells: npt.NDArray[np.float64],
    y: npt.NDArray[np.float64],
    x: npt.NDArray[np.float64],
    y_edge: npt.NDArray[np.float64],
    x_edge: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    """Bilinear blending over the painted patches alone, weights renormalised."""
    present = np.isfinite(grid)
    along_y, along_x = _tent(y, y_edge), _tent(x, x_edge)
    total = along_y @ np.where(present, grid, 0) @ along_x.T
    weight = along_y @ present.astype(np.float64) @ along_x.T
    # A pixel's own patch weighs at least a quarter, so the divisor is never near 0 there.
    blended = np.divide(total, weight, out=cells.copy(), where=weight > 0.1)
    return np.where(np.isnan(cells), np.nan, blended)
