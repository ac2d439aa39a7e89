"""Which pattern grows where: exact shares of the tissue, laid out as foci."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
import numpy.typing as npt

from hvit_cli.demo.gleason import TISSUE_PATTERNS, Pattern
from hvit_cli.demo.noise import smooth_noise

Mask = npt.NDArray[np.bool_]
Classes = npt.NDArray[np.uint8]

_FOCUS_GRAIN_UM = 260.0
_MIX_GRAIN_UM = 420.0


def grow(
    rng: np.random.Generator,
    tissue: Mask,
    *,
    spacing_um: float,
    tumour_share: float,
    mix: Mapping[Pattern, float],
    foci: int = 1,
) -> Classes:
    """The class of every pixel: glass, benign, or one of the tumour's patterns.

    Args:
        rng: Source of randomness.
        tissue: (rows, columns) exact tissue mask, coarse.
        spacing_um: Micrometres per pixel of the mask.
        tumour_share: Tumour area over tissue area, 0 to 1; met to the pixel.
        mix: Share of the tumour by pattern, summing to 1; empty for a benign slide.
        foci: Places where tumour starts to grow.
    """
    classes = np.where(tissue, np.uint8(Pattern.BENIGN), np.uint8(Pattern.GLASS))
    count = round(tumour_share * int(tissue.sum())) if mix else 0
    if count == 0:
        return classes
    row, column = np.nonzero(tissue)
    starts = rng.choice(len(row), size=foci, replace=False)
    away = np.full(len(row), np.inf)
    for start in starts:
        away = np.minimum(away, np.hypot(row - row[start], column - column[start]))
    wobble = smooth_noise(rng, _shape(tissue), _FOCUS_GRAIN_UM / spacing_um)[row, column]
    reach = np.sqrt(count / foci / np.pi)
    tumour = np.argsort(away + 0.22 * reach * wobble)[:count]
    row, column = row[tumour], column[tumour]

    field = smooth_noise(rng, _shape(tissue), _MIX_GRAIN_UM / spacing_um)[row, column]
    slope = rng.uniform(0, 2 * np.pi)
    spread = max(float(np.std(row) + np.std(column)), 1.0)
    field += 1.6 * (np.cos(slope) * column + np.sin(slope) * row) / spread
    order = np.argsort(field)
    start = 0
    for pattern, stop in zip(mix, _edges(mix, count), strict=True):
        part = order[start:stop]
        classes[row[part], column[part]] = pattern
        start = stop
    return classes


def _shape(mask: Mask) -> tuple[int, int]:
    return mask.shape[0], mask.shape[1]


def _edges(mix: Mapping[Pattern, float], count: int) -> list[int]:
    edges = np.round(np.cumsum(list(mix.values())) / sum(mix.values()) * count)
    return [int(edge) for edge in edges]


def areas_mm2(classes: Classes, spacing_um: float) -> dict[int, float]:
    """Area in mm² by pattern, of a class map whose pixels are `spacing_um` wide."""
    count = np.bincount(classes.ravel(), minlength=max(TISSUE_PATTERNS) + 1)
    return {int(p): float(count[p]) * (spacing_um / 1000) ** 2 for p in TISSUE_PATTERNS}


def enlarged(classes: Classes, patterns: Sequence[Pattern], step: int) -> dict[Pattern, Mask]:
    """For each pattern a mask `step` times as large, with smooth instead of stepped borders."""
    rows, columns = classes.shape
    masks = {}
    for pattern in patterns:
        share = (classes == pattern).astype(np.uint8) * 255
        large = cv2.resize(share, (columns * step, rows * step), interpolation=cv2.INTER_LINEAR)
        masks[pattern] = np.asarray(large >= 128, np.bool_)
    return masks
