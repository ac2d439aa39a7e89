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
    """A picture of the slide, or of a rectangle of it.

    Attributes:
        size_px: (width, height) of the picture.
        size_level0: (width, height) of what it shows, in level-0 pixels.
        origin_level0: Top-left corner (x, y) of what it shows.
    """

    size_px: tuple[int, int]
    size_level0: tuple[float, float]
    origin_level0: tuple[float, float] = (0.0, 0.0)

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
        inside_level0 = np.asarray(edge_level0, np.float64) - self.origin_level0[axis]
        edge_px = inside_level0 / self.level0_per_px[axis]
        first = np.ceil(edge_px - 0.5).astype(np.int64)
        return np.clip(first, 0, self.size_px[axis])

    def centres_level0(self, first_px: int, end_px: int, axis: int) -> npt.NDArray[np.float64]:
        """Level-0 positions of the centres of the picture pixels from `first_px` to `end_px`."""
        pixels = np.arange(first_px, end_px)
        return np.asarray((pixels + 0.5) * self.level0_per_px[axis] + self.origin_level0[axis])


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
    stitcher = Stitcher(patch_map, frame, shown=shown, smooth=smooth)
    return stitcher.band(0, frame.size_px[1])


class Stitcher:
    """Paints a map band by band, so that no raster of the whole picture is needed.

    The arguments are those of `stitch`.
    """

    def __init__(
        self,
        patch_map: PatchMap,
        frame: PictureFrame,
        *,
        shown: npt.NDArray[np.bool_] | None = None,
        smooth: bool = False,
    ) -> None:
        self._frame, self._smooth = frame, smooth
        painted = patch_map.visible if shown is None else patch_map.visible & shown
        self._x_level0, self._y_level0 = patch_edges_level0(patch_map)
        self._x_px = frame.px_from_level0(self._x_level0, 0)
        self._y_px = frame.px_from_level0(self._y_level0, 1)
        regions, side = len(patch_map.region_xy_level0), patch_map.side
        self._grids = np.full((regions, side, side), np.nan)
        row, column = np.divmod(patch_map.patch_index[painted], side)
        self._grids[patch_map.region_index[painted], row, column] = patch_map.value[painted]
        self._any = ~np.isnan(self._grids).all(axis=(1, 2))

    def band(self, top_px: int, bottom_px: int) -> npt.NDArray[np.float32]:
        """(bottom - top, width) float32 rows of the raster; NaN where nothing is painted."""
        raster = np.full((bottom_px - top_px, self._frame.size_px[0]), np.nan, np.float32)
        inside = self._any & (self._y_px[:, 0] < bottom_px) & (self._y_px[:, -1] > top_px)
        for m in np.flatnonzero(inside):
            grid, x = self._grids[m], self._x_px[m]
            y = np.clip(self._y_px[m], top_px, bottom_px)
            cells = np.repeat(np.repeat(grid, np.diff(y), axis=0), np.diff(x), axis=1)
            if self._smooth:
                cells = _smoothed(
                    grid,
                    cells,
                    self._frame.centres_level0(y[0], y[-1], 1),
                    self._frame.centres_level0(x[0], x[-1], 0),
                    self._y_level0[m],
                    self._x_level0[m],
                )
            target = raster[y[0] - top_px : y[-1] - top_px, x[0] : x[-1]]
            np.copyto(target, cells.astype(np.float32), where=~np.isnan(cells))
        return raster


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
