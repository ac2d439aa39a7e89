"""Shapes of a binary raster in physical units: closing, small islands, small holes.

All functions take and return (h, w) uint8 arrays of 0 and 1.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.uint8]


def close_gaps(mask: Mask, diameter_um: float, spacing_um: float) -> Mask:
    """Closing with a disc: gaps narrower than `diameter_um` between tissue are filled.

    Distances are measured instead of sliding a kernel, so the disc is round and its cost does
    not grow with its size. Beyond the edge of the picture there is no tissue.

    Args:
        mask: The raster to close.
        diameter_um: Diameter of the disc in micrometres.
        spacing_um: Micrometres per pixel of the raster.
    """
    radius = diameter_um / spacing_um / 2
    margin = int(np.ceil(radius)) + 1
    if not mask.any():
        return mask.copy()
    padded = np.pad(mask, margin)
    grown = (distance_from(padded) <= radius).astype(np.uint8)
    kept = distance_from(1 - grown) > radius
    closed = kept[margin:-margin, margin:-margin].astype(np.uint8)
    return np.maximum(closed, mask)


def distance_from(mask: Mask) -> npt.NDArray[np.float32]:
    """Distance in pixels from each pixel to the nearest 1 of the mask, which holds one."""
    distance = cv2.distanceTransform(1 - mask, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(distance, np.float32)


def remove_thin(mask: Mask, min_width_um: float, spacing_um: float) -> Mask:
    """Removes components that are nowhere `min_width_um` wide: scratches, edges of glass."""
    if not mask.any() or mask.all():
        return mask.copy()
    # Pixel centres lie half a pixel inside their object's edge.
    depth = distance_from(1 - np.pad(mask, 1))[1:-1, 1:-1]
    depth -= 0.5
    depth *= spacing_um
    return grow_from((depth >= min_width_um / 2).astype(np.uint8), mask)


def remove_small(mask: Mask, min_area_mm2: float, spacing_um: float) -> Mask:
    """Removes 8-connected components smaller than `min_area_mm2`."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    keep = stats[:, cv2.CC_STAT_AREA] >= min_area_mm2 * 1e6 / spacing_um**2
    keep[0] = False
    return np.asarray(keep[labels], np.uint8)


def fill_holes(mask: Mask, max_area_mm2: float, spacing_um: float) -> Mask:
    """Fills 4-connected holes up to `max_area_mm2`; what touches the edge is no hole."""
    height, width = mask.shape
    _, labels, stats, _ = cv2.connectedComponentsWithStats(1 - mask, connectivity=4)
    left, top = stats[:, cv2.CC_STAT_LEFT], stats[:, cv2.CC_STAT_TOP]
    right = left + stats[:, cv2.CC_STAT_WIDTH]
    bottom = top + stats[:, cv2.CC_STAT_HEIGHT]
    fill = stats[:, cv2.CC_STAT_AREA] <= max_area_mm2 * 1e6 / spacing_um**2
    fill &= (left > 0) & (top > 0) & (right < width) & (bottom < height)
    fill[0] = False  # label 0 is the tissue itself
    return np.asarray(np.maximum(mask, fill[labels]), np.uint8)


def grow_from(seeds: Mask, domain: Mask) -> Mask:
    """The 8-connected components of `domain` that hold at least one seed."""
    count, labels = cv2.connectedComponents(domain, connectivity=8)
    reached = np.zeros(count, np.uint8)
    reached[np.unique(labels[(seeds > 0) & (domain > 0)])] = 1
    reached[0] = 0
    return np.asarray(reached[labels], np.uint8)
