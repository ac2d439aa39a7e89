"""Which patches touch each other on the slide, and which belong to one piece of tissue."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import numpy.typing as npt

# Corners are rounded once each, so neighbours may lie this far from a patch's side apart.
_ROUNDING_LEVEL0 = 1.5

Rows = npt.NDArray[np.intp]


def touching(xy_level0: npt.NDArray[np.int64], patch_level0: float) -> list[Rows]:
    """The patches that touch each patch, corners included, and the patch itself.

    Patches of neighbouring regions count as much as those of its own; whether their grids are
    the same does not matter.

    Args:
        xy_level0: (P, 2) top-left corners.
        patch_level0: Side of a patch.

    Returns:
        P arrays of ascending rows.
    """
    reach = patch_level0 + _ROUNDING_LEVEL0
    cell = np.floor(xy_level0 / reach).astype(np.int64)
    inside: dict[tuple[int, int], list[int]] = defaultdict(list)
    for row, (x, y) in enumerate(cell.tolist()):
        inside[x, y].append(row)
    found = []
    for row, (x, y) in enumerate(cell.tolist()):
        near = np.array(
            [
                other
                for dx in (-1, 0, 1)
                for dy in (-1, 0, 1)
                for other in inside.get((x + dx, y + dy), ())
            ],
            np.intp,
        )
        apart = np.abs(xy_level0[near] - xy_level0[row]).max(axis=1)
        found.append(np.sort(near[apart <= reach]))
    return found


def pieces(
    xy_level0: npt.NDArray[np.int64], patch_level0: float, tissue: npt.NDArray[np.bool_]
) -> npt.NDArray[np.int64]:
    """Numbers the connected pieces of tissue, by patches that touch.

    Args:
        xy_level0: (P, 2) top-left corners.
        patch_level0: Side of a patch.
        tissue: (P,) which patches hold tissue.

    Returns:
        (P,) number of each patch's piece from 0, in the order of their first patches; patches
        without tissue hold -1.
    """
    piece = np.full(len(xy_level0), -1, np.int64)
    rows = np.flatnonzero(tissue)
    neighbours = touching(xy_level0[rows], patch_level0)
    number = 0
    for first in range(len(rows)):
        if piece[rows[first]] >= 0:
            continue
        waiting = [first]
        piece[rows[first]] = number
        while waiting:
            for near in neighbours[waiting.pop()].tolist():
                if piece[rows[near]] < 0:
                    piece[rows[near]] = number
                    waiting.append(near)
        number += 1
    return piece
