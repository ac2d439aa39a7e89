"""What the empty glass of a slide looks like, and when it is not glass at all."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

Rgb = npt.NDArray[np.uint8]
Hsv = npt.NDArray[np.float32]

# Lamp and white balance tint real glass by less than this; anything more is a colour.
_MAX_GLASS_SATURATION = 0.12
# Glass spreads by this much (0-255) around its own brightness.
_GLASS_SPREAD = 13.0
# Below this value (HSV, 0-1) nothing transmits light: unscanned black or fluorescence.
BLACK_VALUE = 0.15
# Hues of haematoxylin and eosin in degrees, blue-violet to pink-red, with a margin.
_STAIN_HUES = (225.0, 350.0)


def hsv_of(rgb: Rgb) -> Hsv:
    """Hue in degrees, saturation and value in 0-1, as (h, w, 3) float32."""
    return np.asarray(cv2.cvtColor(rgb.astype(np.float32) / 255, cv2.COLOR_RGB2HSV), np.float32)


def glass_colour(rgb: Rgb) -> npt.NDArray[np.float64]:
    """The colour of the glass, three numbers 0-255: the median of the brightest pale pixels.

    White is returned for a picture that shows no glass.
    """
    luminance = rgb.astype(np.float32).mean(axis=2)
    saturation = hsv_of(rgb)[..., 1]
    pale = saturation < _MAX_GLASS_SATURATION
    if pale.mean() < 0.001 or luminance[pale].max() < 100:
        return np.full(3, 255.0)
    brightest = float(np.percentile(luminance[pale], 99))
    glass = rgb[pale & (luminance >= brightest - _GLASS_SPREAD)]
    return np.asarray(np.median(glass, axis=0), np.float64)


def balance(rgb: Rgb, glass: npt.NDArray[np.float64]) -> Rgb:
    """The picture as if its glass were white, so that a tint does not count as stain.

    Only the tint is taken out: the brightest channel of the glass keeps its value.
    """
    factor = glass.max() / np.maximum(glass, 1)
    return np.asarray(np.minimum(np.rint(rgb * factor), 255), np.uint8)


def coloured_glass(rgb: Rgb) -> tuple[int, int, int] | None:
    """The colour of a flat background that neither glass nor stain can have, if there is one.

    Such a background means that the file's colours are decoded wrongly (a DICOM header with
    the wrong colour space, for example): every colour rule would then be meaningless. It
    covers at least a quarter of the picture and half of its edge, evenly.
    """
    coarse = (rgb >> 3).astype(np.int32)
    code = (coarse[..., 0] << 10) | (coarse[..., 1] << 5) | coarse[..., 2]
    commonest = int(np.bincount(code.ravel()).argmax())
    colour = np.median(rgb[code == commonest], axis=0)
    near = np.abs(rgb - colour).max(axis=2) <= 8
    edge = np.concatenate([near[0], near[-1], near[:, 0], near[:, -1]])
    if near.mean() < 0.25 or edge.mean() < 0.5:
        return None
    hue, saturation, value = hsv_of(colour.astype(np.uint8).reshape(1, 1, 3))[0, 0]
    stained = _STAIN_HUES[0] <= hue <= _STAIN_HUES[1]
    if value < 0.5 or saturation < _MAX_GLASS_SATURATION or stained:
        return None
    red, green, blue = (int(c) for c in colour)
    return red, green, blue


def is_dark_field(rgb: Rgb) -> bool:
    """Whether the background is black, as in fluorescence, and nothing transmits white light.

    Glass and stain let all three colours through; a fluorescent dye shines in one or two.
    """
    dark = (rgb.max(axis=2) < 2 * BLACK_VALUE * 255).mean() > 0.5
    transmits = (rgb.min(axis=2) > 0.3 * 255).mean() > 0.05
    return bool(dark and not transmits)
