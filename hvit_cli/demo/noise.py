"""Smooth random fields, the raw material of every irregular thing that is drawn."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
import numpy.typing as npt

Field = npt.NDArray[np.float32]

_TEXTURE_PX = 2048


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], grain_px: float) -> Field:
    """A (rows, columns) float32 field of mean 0 and standard deviation near 1.

    Made on a coarse grid and enlarged with a cubic filter, because blurring white noise at
    full size costs fifty times as much.

    Args:
        rng: Source of randomness.
        shape: (rows, columns) of the result.
        grain_px: Distance over which the field changes.
    """
    rows, columns = shape
    grain = max(float(grain_px), 1.0)
    coarse = rng.standard_normal(
        (int(np.ceil(rows / grain)) + 3, int(np.ceil(columns / grain)) + 3), np.float32
    )
    # The enlarged field is cut at a random phase, so that grid lines do not repeat in place.
    matrix = np.array(
        [
            [1 / grain, 0, 0.5 + rng.uniform(0, 1)],
            [0, 1 / grain, 0.5 + rng.uniform(0, 1)],
        ]
    )
    field = cv2.warpAffine(
        coarse,
        matrix,
        (columns, rows),
        flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT,
    )
    # A cubic kernel averages: 0.75 is the deviation that is left of white noise.
    return np.asarray(field, np.float32) / 0.75


def slanted_noise(
    rng: np.random.Generator,
    shape: tuple[int, int],
    *,
    length_px: float,
    width_px: float,
    angle: float,
) -> Field:
    """Like `smooth_noise`, but stretched along `angle` (radians from the x axis)."""
    rows, columns = shape
    reach = int(np.ceil(np.hypot(rows, columns))) + 2
    coarse = rng.standard_normal(
        (int(reach / max(width_px, 1)) + 4, int(reach / max(length_px, 1)) + 4), np.float32
    )
    cos, sin = np.cos(angle), np.sin(angle)
    along = np.array([cos, sin]) / max(length_px, 1)
    across = np.array([-sin, cos]) / max(width_px, 1)
    centre = np.array([columns / 2, rows / 2])
    middle = np.array([coarse.shape[1] / 2, coarse.shape[0] / 2])
    matrix = np.column_stack(
        [np.stack([along, across]), middle - np.stack([along, across]) @ centre]
    )
    field = cv2.warpAffine(
        coarse,
        matrix,
        (columns, rows),
        flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT,
    )
    return np.asarray(field, np.float32) / 0.75


@cache
def _texture(seed: int, grain_px: float, stretch: float) -> npt.NDArray[np.uint8]:
    """A reusable texture around 128 with a standard deviation of 32."""
    rng = np.random.default_rng(seed)
    shape = (_TEXTURE_PX, _TEXTURE_PX)
    if stretch == 1:
        field = smooth_noise(rng, shape, grain_px)
    else:
        field = slanted_noise(
            rng, shape, length_px=grain_px * stretch, width_px=grain_px, angle=0.0
        )
        # Bending the fibres keeps them from looking combed.
        bend = smooth_noise(rng, shape, 260.0) * 45.0
        row, column = np.mgrid[0:_TEXTURE_PX, 0:_TEXTURE_PX].astype(np.float32)
        bent = cv2.remap(field, column, row + bend, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        field = np.asarray(bent, np.float32)
    return np.asarray(np.clip(128 + 32 * field, 0, 255), np.uint8)


def texture(
    rng: np.random.Generator, shape: tuple[int, int], grain_px: float, stretch: float = 1.0
) -> npt.NDArray[np.uint8]:
    """A (rows, columns) uint8 texture around 128, cut from a stored one at a random place.

    Cutting costs a copy; the eye does not find the place again, nor, with the flips and the
    slide's own structures on top, does a network.
    """
    tile = _texture(int(rng.integers(4)), grain_px, stretch)
    if rng.random() < 0.5:
        tile = tile[::-1]
    if rng.random() < 0.5:
        tile = tile[:, ::-1]
    top, left = (int(v) for v in rng.integers(0, _TEXTURE_PX, 2))
    rows = (np.arange(shape[0]) + top) % (2 * _TEXTURE_PX)
    columns = (np.arange(shape[1]) + left) % (2 * _TEXTURE_PX)
    # Mirrored at its edges, so that no seam shows.
    rows = np.where(rows < _TEXTURE_PX, rows, 2 * _TEXTURE_PX - 1 - rows)
    columns = np.where(columns < _TEXTURE_PX, columns, 2 * _TEXTURE_PX - 1 - columns)
    return np.ascontiguousarray(np.take(np.take(tile, columns, axis=1), rows, axis=0))
