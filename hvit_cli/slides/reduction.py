"""Area averages: how pixels become coarser, antialiased, each output pixel a true mean."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

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
    return np.concatenate(list(reduced_strips(strips, from_px, to_px)))


def reduced_strips(
    strips: Iterable[npt.NDArray[np.uint8]], from_px: tuple[int, int], to_px: tuple[int, int]
) -> Iterator[npt.NDArray[np.uint8]]:
    """As `reduce_strips`, giving rows as soon as they are done: nothing is ever held whole.

    Yields:
        (rows, width, 3) area means from top to bottom, together of size `to_px`.
    """
    width, height = to_px
    scale = from_px[1] / height
    step = max(1, _CHUNK_PX // from_px[0])
    wide = np.empty((step, from_px[0], 3), np.float32)
    # Rows `done` to `done + len(total)` of the output, of which some still lack input.
    total, done, top = np.zeros((0, width * 3), np.float32), 0, 0
    for strip in strips:
        for start in range(0, len(strip), step):
            rows = min(step, len(strip) - start)
            wide[:rows] = strip[start : start + rows]
            narrow = cv2.resize(wide[:rows], (width, rows), interpolation=cv2.INTER_AREA)
            first = min(int(top / scale), height - 1)
            last = min(int(np.ceil((top + rows) / scale)), height)
            if last - done > len(total):
                more = np.zeros((last - done - len(total), width * 3), np.float32)
                total = np.concatenate([total, more])
            weights = _row_weights(first, last, top, rows, scale)
            total[first - done : last - done] += weights @ narrow.reshape(rows, -1)
            top += rows
            # The next input begins in this row of the output: those above it are complete.
            complete = min(int(top / scale), height - 1) - done
            if complete > 0:
                yield _rounded(total[:complete], width)
                total, done = total[complete:], done + complete
    yield _rounded(total, width)


def _rounded(total: npt.NDArray[np.float32], width: int) -> npt.NDArray[np.uint8]:
    return np.clip(np.rint(total), 0, 255).astype(np.uint8).reshape(-1, width, 3)


def _row_weights(
    first: int, last: int, top: int, rows: int, scale: float
) -> npt.NDArray[np.float32]:
    """Share of input row j in output row i: the overlap of [j, j+1) with [i, i+1)·scale."""
    output = np.arange(first, last)[:, None] * scale
    source = np.arange(top, top + rows)[None]
    overlap = np.minimum(output + scale, source + 1) - np.maximum(output, source)
    return np.asarray(np.clip(overlap, 0, None) / scale, np.float32)
