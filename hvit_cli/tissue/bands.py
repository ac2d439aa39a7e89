"""A picture some rows at a time, for what is computed of each pixel in wider numbers.

The picture of a slide at the spacing of segmentation has up to some sixty million pixels. In
bytes that is little; its hue, saturation and value as floats are four times that, and a few
such arrays at once are gigabytes.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

_BAND_PX = 1 << 19


def bands(shape: tuple[int, ...]) -> Iterator[slice]:
    """Rows of an array of this shape, some half a million pixels at a time."""
    height, width = shape[:2]
    step = max(1, _BAND_PX // max(width, 1))
    for top in range(0, height, step):
        yield slice(top, min(top + step, height))


def median_of_counts(counts: npt.NDArray[np.int64]) -> float:
    """The median of whole numbers of which `counts[i]` are i."""
    below = np.cumsum(counts)
    total = int(below[-1])
    middle = np.searchsorted(below, [(total - 1) // 2 + 1, total // 2 + 1])
    return float(middle.mean())
