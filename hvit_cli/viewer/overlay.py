"""Tiles of what lies over the slide: a map's colours, unseen tissue, borders of regions."""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

from hvit_cli.heatmaps.maps import PatchMap
from hvit_cli.heatmaps.render import LINE, LUMINANCE, RgbImage, colours
from hvit_cli.heatmaps.stitch import patch_edges_level0
from hvit_cli.viewer.pyramid import Tile

Rgba = npt.NDArray[np.uint8]

_HATCH_STEP_PX, _HATCH_LINE_PX = 14, 2
_DARK, _LIGHT = (40, 40, 40), (250, 250, 250)
_BORDER_PX = 2


class MapTiles:
    """Paints one map at any zoom: a pixel has the colour of the patch that holds its centre.

    Args:
        patch_map: The values, on the scale they are shown on.
        table: (256, 3) colours.
        limits: Values at both ends of the colours.
    """

    def __init__(self, patch_map: PatchMap, table: RgbImage, limits: tuple[float, float]) -> None:
        self._table = table
        self.box_level0 = cells_level0(patch_map)
        self._colour = colours(patch_map.value, table, limits)
        self._seen = patch_map.visible
        self._tissue = patch_map.visible & ~patch_map.background

    def tile(self, tile: Tile, *, tissue_only: bool = False) -> Rgba:
        """(height, width, 4) colours of a tile, opaque where a patch was seen, clear elsewhere.

        Args:
            tile: Which tile.
            tissue_only: Leave out glass that the model saw.
        """
        painted = np.zeros((tile.size_px[1], tile.size_px[0], 4), np.uint8)
        shown = self._tissue if tissue_only else self._seen
        box_px = boxes_px(self.box_level0, tile)
        here = np.flatnonzero(shown & (box_px[:, 0] < box_px[:, 2]) & (box_px[:, 1] < box_px[:, 3]))
        for i in here:
            left, top, right, bottom = box_px[i]
            painted[top:bottom, left:right, :3] = self._colour[i]
            painted[top:bottom, left:right, 3] = 255
        return painted


def grey_below(rgb: RgbImage, seen: npt.NDArray[np.uint8]) -> Rgba:
    """(height, width, 2) grey and opacity: the slide without its stain where a map has colours.

    Args:
        rgb: (height, width, 3) pixels of the slide.
        seen: (height, width) opacity of the map.
    """
    grey = np.rint(rgb @ LUMINANCE).astype(np.uint8)
    return np.stack([np.where(seen > 0, grey, 0), seen], axis=-1).astype(np.uint8)


class Marks:
    """Draws what a map leaves out: tissue that no region holds, and the regions' borders.

    Args:
        mask: (h, w) tissue mask of the whole slide, 1 tissue.
        size_level0: (width, height) of the slide in level-0 pixels.
        region_box_level0: (M, 4) left, top, right, bottom of the regions.
    """

    def __init__(
        self,
        mask: npt.NDArray[np.uint8],
        size_level0: tuple[int, int],
        region_box_level0: npt.NDArray[np.float64],
    ) -> None:
        self._mask = mask
        self._size_level0 = size_level0
        self._boxes = region_box_level0

    def unseen(self, tile: Tile) -> Rgba:
        """(height, width, 4) with tissue outside the regions hatched."""
        where = self._tissue(tile)
        for left, top, right, bottom in boxes_px(self._boxes, tile):
            where[top:bottom, left:right] = False
        row, column = np.nonzero(where)
        # Counted from the slide's corner, so that stripes go on in the next tile.
        stripe = (row + column + sum(tile.xy_px)) % _HATCH_STEP_PX
        drawn = np.zeros((*where.shape, 4), np.uint8)
        dark = stripe < _HATCH_LINE_PX
        light = ~dark & (stripe < 2 * _HATCH_LINE_PX)
        drawn[row[dark], column[dark]] = (*_DARK, 255)
        drawn[row[light], column[light]] = (*_LIGHT, 255)
        return drawn

    def regions(self, tile: Tile) -> Rgba:
        """(height, width, 4) with the border of every region, inside its own pixels."""
        width, height = tile.size_px
        drawn = np.zeros((height, width, 4), np.uint8)
        for left, top, right, bottom in boxes_px(self._boxes, tile, clipped=False):
            x0, y0, x1, y1 = max(left, 0), max(top, 0), max(right, 0), max(bottom, 0)
            inner = [max(edge, 0) for edge in (left + _BORDER_PX, right - _BORDER_PX)]
            upper = [max(edge, 0) for edge in (top + _BORDER_PX, bottom - _BORDER_PX)]
            for rows, columns in (
                (slice(y0, upper[0]), slice(x0, x1)),
                (slice(upper[1], y1), slice(x0, x1)),
                (slice(y0, y1), slice(x0, inner[0])),
                (slice(y0, y1), slice(inner[1], x1)),
            ):
                drawn[rows, columns] = (*LINE, 255)
        return drawn

    @functools.cached_property
    def any_unseen(self) -> bool:
        """Whether some tissue lies in no region."""
        width, height = self._size_level0
        whole = Tile(
            zoom=0,
            xy_px=(0, 0),
            size_px=(self._mask.shape[1], self._mask.shape[0]),
            box_level0=(0, 0, width, height),
        )
        where = self._mask > 0
        for left, top, right, bottom in boxes_px(self._boxes, whole):
            where[top:bottom, left:right] = False
        return bool(where.any())

    def _tissue(self, tile: Tile) -> npt.NDArray[np.bool_]:
        # The mask pixel that holds the centre of each pixel of the tile.
        places = []
        for axis, count in ((1, self._mask.shape[0]), (0, self._mask.shape[1])):
            first, last = tile.box_level0[axis], tile.box_level0[axis + 2]
            pixels = tile.size_px[axis]
            centre = first + (np.arange(pixels) + 0.5) * ((last - first) / pixels)
            places.append((centre * (count / self._size_level0[axis])).astype(np.intp))
        return np.asarray(self._mask[np.ix_(*places)] > 0)


def cells_level0(patch_map: PatchMap) -> npt.NDArray[np.float64]:
    """(P, 4) left, top, right, bottom of each patch as it is painted, in level-0 pixels."""
    x, y = patch_edges_level0(patch_map)
    row, column = np.divmod(patch_map.patch_index, patch_map.side)
    m = patch_map.region_index
    return np.stack([x[m, column], y[m, row], x[m, column + 1], y[m, row + 1]], axis=1)


def boxes_px(
    box_level0: npt.NDArray[np.float64], tile: Tile, *, clipped: bool = True
) -> npt.NDArray[np.int64]:
    """(n, 4) boxes in pixels of a tile: those whose centre lies inside.

    Args:
        box_level0: (n, 4) left, top, right, bottom.
        tile: The tile.
        clipped: Cut them off at the tile's borders.
    """
    corner = tile.box_level0[:2]
    axes = (0, 1, 0, 1)
    if clipped:
        return np.stack(
            [
                tile.frame.px_from_level0(box_level0[:, i] - corner[axis], axis)
                for i, axis in enumerate(axes)
            ],
            axis=1,
        )
    per_px = tile.frame.level0_per_px
    return np.stack(
        [
            np.ceil((box_level0[:, i] - corner[axis]) / per_px[axis] - 0.5).astype(np.int64)
            for i, axis in enumerate(axes)
        ],
        axis=1,
    )
