"""The Gleason 5 pattern: the same tissue without glands.

Epithelium stands in cords and sheets, and what is lumen elsewhere is slit-like clefts in the
stroma. Both are level sets of random fields whose thresholds are the shares of the area that
the other patterns have.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from hvit_cli.demo.layer import (
    EPITHELIAL_NUCLEI_PER_MM2,
    EPITHELIUM,
    EPITHELIUM_SHARE,
    LUMEN,
    LUMEN_SHARE,
    STROMA,
    TissueLayer,
    scattered_points,
)
from hvit_cli.demo.noise import Field, slanted_noise, smooth_noise

Mask = npt.NDArray[np.bool_]

_FIELD_UM = 2.0
_CORD_GRAIN_UM = 26.0
_SHEET_GRAIN_UM = 130.0
_CLEFT_LENGTH_UM = 34.0
_CLEFT_WIDTH_UM = 9.0


def draw_sheets(rng: np.random.Generator, layer: TissueLayer, area: Mask) -> None:
    """Fills `area`, (rows, columns) of the layer, with cords, sheets and clefts, in place."""
    if not area.any():
        return
    rows, columns = np.flatnonzero(area.any(axis=1)), np.flatnonzero(area.any(axis=0))
    box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    inside = area[box]
    coarse = 1 / (_FIELD_UM * layer.px_per_um)
    shape = (max(round(inside.shape[0] * coarse), 2), max(round(inside.shape[1] * coarse), 2))
    small = cv2.resize(inside.astype(np.uint8), shape[::-1], interpolation=cv2.INTER_AREA) > 0
    if not small.any():
        return

    sheet, sheet_level = _cords(rng, small)
    cleft, cleft_level = _clefts(rng, small, sheet >= sheet_level)
    epithelium = _enlarge(sheet, inside.shape) >= sheet_level
    lumen = (_enlarge(cleft, inside.shape) >= cleft_level) & ~epithelium
    target = layer.kind[box]
    free = inside & (target == STROMA)
    target[epithelium & free] = EPITHELIUM
    target[lumen & free] = LUMEN

    density = EPITHELIAL_NUCLEI_PER_MM2 / 1e6 / layer.px_per_um**2
    nuclei = scattered_points(rng, inside.shape, density)
    column, row = nuclei.astype(int).T
    nuclei = nuclei[(epithelium & free)[row, column]]
    layer.nuclei.append(nuclei + np.array([columns[0], rows[0]], np.float32))


def _cords(rng: np.random.Generator, small: Mask) -> tuple[Field, float]:
    """A field whose values above the returned level are epithelium."""
    wave = smooth_noise(rng, small.shape, _CORD_GRAIN_UM / _FIELD_UM)
    breadth = smooth_noise(rng, small.shape, _SHEET_GRAIN_UM / _FIELD_UM)
    # Near its zeros the field is a cord; where `breadth` is high the cords merge to sheets.
    field = -np.abs(wave) + 0.35 * breadth
    return field, float(np.quantile(field[small], 1 - EPITHELIUM_SHARE))


def _clefts(rng: np.random.Generator, small: Mask, epithelium: Mask) -> tuple[Field, float]:
    """A field whose values above the returned level are clefts, outside the epithelium."""
    # The larger of three directions: clefts of all orientations that do not look combed.
    field = np.maximum.reduce(
        [
            slanted_noise(
                rng,
                small.shape,
                length_px=_CLEFT_LENGTH_UM / _FIELD_UM,
                width_px=_CLEFT_WIDTH_UM / _FIELD_UM,
                angle=rng.uniform(0, np.pi),
            )
            for _ in range(3)
        ]
    )
    stroma = small & ~epithelium
    share = min(LUMEN_SHARE * small.sum() / max(int(stroma.sum()), 1), 1.0)
    return field, float(np.quantile(field[stroma], 1 - share)) if stroma.any() else np.inf


def _enlarge(field: Field, shape: tuple[int, ...]) -> Field:
    return np.asarray(
        cv2.resize(field, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC), np.float32
    )
