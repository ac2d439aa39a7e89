"""Nuclei, drawn alike in every pattern: their number and looks carry no grade."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from hvit_cli.demo.layer import (
    STROMA,
    STROMAL_NUCLEI_PER_MM2,
    Points,
    TissueLayer,
    scattered_points,
)
from hvit_cli.demo.noise import smooth_noise

_SUBPIXEL_BITS = 4
_EPITHELIAL_RADIUS_UM = 3.1
_STROMAL_LENGTH_UM = 6.5
_STROMAL_WIDTH_UM = 1.7


def stromal_nuclei(rng: np.random.Generator, layer: TissueLayer) -> Points:
    """(n, 2) points (x, y) of the spindle nuclei of the stroma."""
    density = STROMAL_NUCLEI_PER_MM2 / 1e6 / layer.px_per_um**2
    points = scattered_points(rng, layer.shape, density, jitter=1.0)
    return np.asarray(points[layer.kind_at(points) == STROMA], np.float32)


def stamp_nuclei(
    rng: np.random.Generator, layer: TissueLayer, haematoxylin: npt.NDArray[np.uint8]
) -> int:
    """Draws every nucleus into the haematoxylin amount, in place; returns how many."""
    scale = layer.px_per_um
    round_ones = layer.epithelial_nuclei()
    radii = _EPITHELIAL_RADIUS_UM * scale * rng.lognormal(0, 0.13, (len(round_ones), 1))
    axes = radii * np.exp(rng.normal(0, 0.10, (len(round_ones), 1)) * np.array([1, -1]))
    _ellipses(haematoxylin, round_ones, axes, rng.uniform(0, 180, len(round_ones)), rng, 150, 205)

    spindles = stromal_nuclei(rng, layer)
    axes = np.array([_STROMAL_LENGTH_UM, _STROMAL_WIDTH_UM]) * scale
    axes = axes * rng.lognormal(0, 0.2, (len(spindles), 2))
    flow = smooth_noise(rng, (layer.shape[0] // 8 + 1, layer.shape[1] // 8 + 1), 60.0)
    column, row = (spindles / 8).astype(int).T
    angles = 80.0 * flow[row, column] + rng.normal(0, 14, len(spindles))
    _ellipses(haematoxylin, spindles, axes, angles, rng, 140, 200)
    return len(round_ones) + len(spindles)


def _ellipses(
    target: npt.NDArray[np.uint8],
    centres: Points,
    axes_px: npt.NDArray[np.float64],
    angles: npt.NDArray[np.float64],
    rng: np.random.Generator,
    palest: int,
    darkest: int,
) -> None:
    unit = 1 << _SUBPIXEL_BITS
    centre = np.round(centres * unit).astype(int).tolist()
    axis = np.maximum(np.round(axes_px * unit), 1).astype(int).tolist()
    amount = rng.integers(palest, darkest, len(centres)).tolist()
    for place, size, angle, value in zip(centre, axis, angles.tolist(), amount, strict=True):
        # A rim of chromatin around a paler middle.
        cv2.ellipse(target, place, size, angle, 0, 360, value, -1, cv2.LINE_8, _SUBPIXEL_BITS)
        core = [s * 5 // 8 for s in size]
        cv2.ellipse(target, place, core, angle, 0, 360, value - 38, -1, cv2.LINE_8, _SUBPIXEL_BITS)
