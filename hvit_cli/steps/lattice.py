"""The one lattice on which the patches of a slide must lie to be regrouped into regions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hvit_cli.errors import StorageError

_SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class Lattice:
    """Where patches lie, in steps of their own size.

    Attributes:
        origin_level0: (x, y) of cell (0, 0), below one step from the corner of the slide.
        step_level0: Side of a patch, and distance of neighbours, in level-0 pixels.
        cell: (N, 2) column and row of each patch.
        stated: False where the step was taken from the coordinates themselves.
    """

    origin_level0: tuple[int, int]
    step_level0: int
    cell: npt.NDArray[np.int64]
    stated: bool


def fit_lattice(
    xy_level0: npt.NDArray[np.int64],
    step_level0: int | None,
    *,
    where: object,
    rounded_down: bool = False,
) -> Lattice:
    """Finds the lattice of some patches, and refuses patches that lie off it.

    Args:
        xy_level0: (N, 2) top-left corners.
        step_level0: Side of a patch where it is known; None takes the smallest distance of
            two patches in one row or column.
        where: The slide, for errors.
        rounded_down: Whether the true step may be one more than the stated one: TRIDENT states
            256 · 37 // 20 = 473 and moves by 474.

    Raises:
        StorageError: No step is known, two patches lie at one place, or not all patches lie
            on one lattice; the message shows the coordinates that do not.
    """
    _refuse_duplicates(xy_level0, where)
    stated = step_level0 is not None
    step = step_level0 or _smallest_distance(xy_level0)
    if step is None:
        raise StorageError(
            "the size of the patches at level 0 is not known",
            where=where,
            hint="--patch-level0 with their side in level-0 pixels",
        )
    for candidate in (step, step + 1) if rounded_down else (step,):
        off, residue = _off_lattice(xy_level0, candidate)
        if not off.any():
            return Lattice(
                origin_level0=residue,
                step_level0=candidate,
                cell=(xy_level0 - np.asarray(residue)) // candidate,
                stated=stated,
            )
    off, residue = _off_lattice(xy_level0, step)
    shown = ", ".join(f"({x}, {y})" for x, y in xy_level0[off][:_SHOWN].tolist())
    raise StorageError(
        "the patches do not lie on one lattice, so that no regions hold them",
        where=where,
        found=f"{int(off.sum())} of {len(off)} patches off it, such as {shown}",
        wanted=f"steps of {step} from {residue} in x and y, as most lie",
        hint="patches cut on one grid per slide, or hvit embed",
    )


def _refuse_duplicates(xy: npt.NDArray[np.int64], where: object) -> None:
    places, first, count = np.unique(xy, axis=0, return_index=True, return_counts=True)
    if len(places) == len(xy):
        return
    x, y = places[count > 1][0].tolist()
    raise StorageError(
        "several patches lie at one place",
        where=where,
        found=f"{int(count.max())} at ({x}, {y}); {len(xy) - len(first)} patches too many",
    )


def _off_lattice(
    xy: npt.NDArray[np.int64], step: int
) -> tuple[npt.NDArray[np.bool_], tuple[int, int]]:
    """(N,) which patches do not share the commonest remainder, and that remainder."""
    if not len(xy):
        return np.zeros(0, bool), (0, 0)
    remainders, count = np.unique(xy % step, axis=0, return_counts=True)
    commonest = remainders[count.argmax()]
    off = np.asarray((xy % step != commonest).any(axis=1), bool)
    return off, (int(commonest[0]), int(commonest[1]))


def _smallest_distance(xy: npt.NDArray[np.int64]) -> int | None:
    distances = []
    for axis in (0, 1):
        order = np.lexsort((xy[:, axis], xy[:, 1 - axis]))
        moved = np.diff(xy[order], axis=0)
        same_line = moved[:, 1 - axis] == 0
        distances += moved[same_line, axis].tolist()
    return min(distances, default=None)
