"""Area averages: how pixels become coarser, antialiased, each output pixel a true mean."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
import numpy.typing as npt

# Input pixels widened to floats at a time, always into the same memory: touching new pages
# took half of the whole reduction.
_CHUNK_PX = 1 << 19


def reduce_area(rgb: npt.NDArray[np.uint8], size_px: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Reduces (h, w, 3) pixels to (width, height), each the mean of the area it covers.

    Pixels on a border count by the share that is covered. Neither side may grow.
    """
    height, width = rgb.shape[:2]
    if size_px == (width, height):
        return rgb
    if size_px[0] > width or size_px[1] > height:
        raise ValueError(f"an area average cannot enlarge {width}×{height} to {size_px}")
    return np.asarray(cv2.resize(rgb, size_px, interpolation=cv2.INTER_AREA), np.uint8)


def reduce_strips(
    strips: Iterable[npt.NDArray[np.uint8]], from_px: tuple[int, int], to_px: tuple[int, int]
) -> npt.NDArray[np.uint8]:
    """Reduces a picture that arrives in strips, without ever holding it whole.

    Args:
        strips: (rows, width, 3) pixels from top to bottom, together of size `from_px`.
        from_px: (width, height) of the whole.
        to_px: (width, height) wanted, neither larger than before.

    Returns:
        (height, width, 3) area means, summed in floats and rounded once.
    """
    width, height = to_px
    scale = from_px[1] / height
    total = np.zeros((height, width * 3), np.float32)
    top = 0
    step = max(1, _CHUNK_PX // from_px[0])
    wide = np.empty((step, from_px[0], 3), np.float32)
    for strip in strips:
        for start in range(0, len(strip), step):
            rows = min(step, len(strip) - start)
            wide[:rows] = strip[start : start + rows]
            narrow = cv2.resize(wide[:rows], (width, rows), interpolation=cv2.INTER_AREA)
            first = min(int(top / scale), height - 1)
            last = min(int(np.ceil((top + rows) / scale)), height)
            weights = _row_weights(first, last, top, rows, scale)
            total[first:last] += weights @ narrow.reshape(rows, -1)
            top += rows
    return np.clip(np.rint(total), 0, 255).astype(np.uint8).reshape(height, width, 3)


def _row_weights(
    first: int, last: int, top: int, rows: int, scale: float
) -> npt.NDArray[np.float32]:
    """Share of input row j in output row i: the overlap of [j, j+1) with [i, i+1)·scale."""
    output = np.arange(first, last)[:, None] * scale
    source = np.arange(top, top + rows)[None]
    overlap = np.minimum(output + scale, source + 1) - np.maximum(output, source)
    return np.asarray(np.clip(overlap, 0, None) / scale, np.float32)
