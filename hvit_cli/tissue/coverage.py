"""Tissue counted inside rectangles, in whole mask pixels, through an integral image.

A mask pixel belongs to the rectangle that holds its centre. Edges are half-open: a centre on
an edge belongs to the rectangle that begins there, so rectangles that share an edge share no
pixel and miss none. Counts are integers, because a float integral image leaves traces of
tissue on pure glass.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from hvit_cli.tissue.mask import TissueMask

Edges = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

# An edge reached by two sums must fall on the same side of a centre (in mask pixels).
_TIE_NOISE = 1e-6


def first_pixel(edge_level0: npt.ArrayLike, level0_per_px: float) -> Indices:
    """Index of the first mask pixel whose centre lies at or beyond an edge.

    Args:
        edge_level0: Positions along one axis in level-0 pixels.
        level0_per_px: Level-0 pixels per mask pixel along that axis.
    """
    position = np.asarray(edge_level0, np.float64) / level0_per_px
    return np.ceil(position - 0.5 - _TIE_NOISE).astype(np.int64)


def count_pixels(mask: TissueMask, x_level0: Edges, y_level0: Edges) -> tuple[Indices, Indices]:
    """Counts tissue, and all mask pixels, in grids of rectangles.

    Args:
        mask: The mask; what lies beyond it is background.
        x_level0: (..., n + 1) ascending edges of n columns, in level-0 pixels.
        y_level0: (..., m + 1) ascending edges of m rows, with the same leading axes.

    Returns:
        Two (..., m, n) int64 arrays: tissue pixels, and all pixels, those beyond the edge of
        the slide included.
    """
    height, width = mask.pixels.shape
    integral = cv2.integral(mask.pixels, sdepth=cv2.CV_32S)
    columns = first_pixel(x_level0, mask.level0_per_px[0])
    rows = first_pixel(y_level0, mask.level0_per_px[1])
    pixels = np.diff(rows)[..., :, None] * np.diff(columns)[..., None, :]
    inside_rows = np.clip(rows, 0, height)[..., :, None]
    inside_columns = np.clip(columns, 0, width)[..., None, :]
    corner = integral[inside_rows, inside_columns].astype(np.int64)
    return np.diff(np.diff(corner, axis=-1), axis=-2), pixels
