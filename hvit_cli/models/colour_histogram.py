"""The baseline without any learning: how often each colour occurs in a patch.

Red, green and blue are cut into eight equal steps each, which makes 512 colours; a patch's
feature is the square root of each colour's share of its pixels. The cosine similarity of two
such features is the Bhattacharyya coefficient of their histograms. Where nothing is, and in
which order, is not in it: what an encoder adds to this baseline is form.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

STEPS = 8
"""Steps of each colour."""

WIDTH = STEPS**3


def colour_histogram(patches: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """The colour histograms of patches.

    Args:
        patches: (n, h, h, 3) uint8 RGB.

    Returns:
        (n, 512) float32, each of length 1.
    """
    step = patches.astype(np.int64) * STEPS // 256
    colour = (step[..., 0] * STEPS + step[..., 1]) * STEPS + step[..., 2]
    counts = [np.bincount(one.ravel(), minlength=WIDTH) for one in colour]
    share = np.stack(counts) / colour[0].size if counts else np.zeros((0, WIDTH))
    return np.sqrt(share).astype(np.float32)
