"""Pen marks: ink whose hue, or blackness, no haematoxylin and eosin stain reaches.

Strokes are blurred, because the ink lies on the cover slip and not in the focal plane. A
stroke's core is told by its hue and saturation; from there it grows into the weaker colours
of its own fringe, as long as they show no texture of tissue.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from hvit_cli.tissue.glass import Rgb, hsv_bands
from hvit_cli.tissue.morphology import Mask, distance_from, grow_from, remove_small

# Hues (degrees) between yellow and blue; haematoxylin begins above 235.
_COLD_HUES = (45.0, 232.0)
_COLD_SATURATION = 0.30
_COLD_FRINGE_HUES = (45.0, 238.0)
_COLD_FRINGE_SATURATION = 0.05
_MIN_COLD_MM2 = 0.002
# Eosin ends near 345; red ink lies beyond it and is more saturated than packed red cells.
_RED_HUES = (343.0, 18.0)
_RED_SATURATION = 0.68
_RED_FRINGE_HUES = (337.0, 25.0)
# Ink over tissue is told from its stain by being so much more saturated than the median.
_RED_FRINGE_EXCESS = 1.6
_RED_FRINGE_SATURATION = (0.40, 0.60)
# Two inks on top of each other are dark and still saturated.
_MIXED_INK_VALUE, _MIXED_INK_SATURATION = 0.50, 0.30
# Black ink: darker than the densest nuclei at the spacing of segmentation.
_BLACK_INK_VALUE = 0.28
# Blur of a stroke: the distance from cover slip to focal plane seen through the objective.
_BLUR_UM = 500.0
_BLUR_SATURATION = 0.03
# Mean absolute Laplacian of the grey values (0-255): ink and glass lie below, tissue above.
_SMOOTH_BELOW = 2.0
# What blur must not swallow, however smooth: the hues of stain, unless dark like ink.
_STAIN_HUES, _STAIN_VALUE = (240.0, 330.0), 0.7


def find_pen(balanced: Rgb, rgb: Rgb, spacing_um: float, min_pen_mm2: float) -> Mask:
    """Marks pen strokes.

    Args:
        balanced: (h, w, 3) uint8, smooth, as if its glass were white.
        rgb: (h, w, 3) uint8, the unfiltered picture, for its texture.
        spacing_um: Micrometres per pixel.
        min_pen_mm2: Smaller red and black marks are none; strokes are wide, vessels are not.

    Returns:
        (h, w) uint8, 1 where there is ink.
    """
    # Cores and what they may grow into, by colour.
    cold, near_cold, red, near_red, black = np.zeros((5, *rgb.shape[:2]), np.uint8)
    red_fringe_from = _red_fringe_from(balanced)
    for rows, hsv in hsv_bands(balanced):
        hue, saturation, value = hsv[..., 0], hsv[..., 1], hsv[..., 2]
        cold[rows] = _between(hue, _COLD_HUES) & (saturation > _COLD_SATURATION)
        near_cold[rows] = cold[rows] | (
            _between(hue, _COLD_FRINGE_HUES) & (saturation > _COLD_FRINGE_SATURATION)
        )
        red[rows] = _between(hue, _RED_HUES) & (saturation > _RED_SATURATION)
        mixed = (value < _MIXED_INK_VALUE) & (saturation > _MIXED_INK_SATURATION)
        red_fringe = _between(hue, _RED_FRINGE_HUES) & (saturation > red_fringe_from)
        near_red[rows] = red[rows] | red_fringe | mixed
        black[rows] = value < _BLACK_INK_VALUE

    ink = grow_from(remove_small(cold, _MIN_COLD_MM2, spacing_um), near_cold)
    warm = grow_from(remove_small(red, min_pen_mm2 / 3, spacing_um), near_red) | black
    ink |= remove_small(warm, min_pen_mm2, spacing_um)
    return _with_blur(ink, balanced, rgb, spacing_um) if ink.any() else ink


def _with_blur(ink: Mask, balanced: Rgb, rgb: Rgb, spacing_um: float) -> Mask:
    distance = distance_from(ink)
    inked = ink.copy()
    for rows, hsv in hsv_bands(balanced):
        near = distance[rows] * spacing_um <= _BLUR_UM
        stain = _between(hsv[..., 0], _STAIN_HUES) & (hsv[..., 2] >= _STAIN_VALUE)
        coloured = (hsv[..., 1] > _BLUR_SATURATION) & ~stain
        inked[rows] |= near & coloured & (_texture(rgb, rows) < _SMOOTH_BELOW)
    return grow_from(ink, inked)


def _texture(rgb: Rgb, rows: slice) -> npt.NDArray[np.float32]:
    """Mean absolute Laplacian of the grey values in 5 × 5 pixels, of some rows of a picture."""
    # A pixel's value comes from rows up to three away.
    top = max(rows.start - 3, 0)
    grey = cv2.cvtColor(rgb[top : rows.stop + 3], cv2.COLOR_RGB2GRAY).astype(np.float32)
    laplacian = np.abs(cv2.Laplacian(grey, cv2.CV_32F)) / 4
    return np.asarray(cv2.blur(laplacian, (5, 5)), np.float32)[rows.start - top :][
        : rows.stop - rows.start
    ]


def _between(hue: npt.NDArray[np.float32], hues: tuple[float, float]) -> npt.NDArray[np.bool_]:
    first, last = hues
    if first <= last:
        return (hue >= first) & (hue <= last)
    return (hue >= first) | (hue <= last)


def _red_fringe_from(balanced: Rgb) -> float:
    """Saturation from which reddish pixels beside red ink are ink: relative to the stain."""
    stained = np.concatenate(
        [
            hsv[..., 1][_between(hsv[..., 0], (250.0, 345.0)) & (hsv[..., 1] > 0.1)]
            for _, hsv in hsv_bands(balanced)
        ]
    )
    lowest, highest = _RED_FRINGE_SATURATION
    if not stained.size:
        return lowest
    median = float(np.median(stained, overwrite_input=True))
    return float(np.clip(_RED_FRINGE_EXCESS * median, lowest, highest))
