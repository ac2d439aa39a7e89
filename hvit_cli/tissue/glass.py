"""What the empty glass of a slide looks like, and when it is not glass at all."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import numpy.typing as npt

from hvit_cli.tissue.bands import bands, median_of_counts

Rgb = npt.NDArray[np.uint8]
Hsv = npt.NDArray[np.float32]

# Lamp and white balance tint real glass by less than this; anything more is a colour.
_MAX_GLASS_SATURATION = 0.12
# Glass spreads by this much (0-255) around its own brightness.
_GLASS_SPREAD = 13.0
# Below this value (HSV, 0-1) nothing transmits light: unscanned black or fluorescence.
BLACK_VALUE = 0.15
# Sums of three channels: 0 to 765.
_BRIGHTNESSES = 3 * 255 + 1
# Hues of haematoxylin and eosin in degrees, blue-violet to pink-red, with a margin.
_STAIN_HUES = (225.0, 350.0)


def hsv_of(rgb: Rgb) -> Hsv:
    """Hue in degrees, saturation and value in 0-1, as (h, w, 3) float32."""
    return np.asarray(cv2.cvtColor(rgb.astype(np.float32) / 255, cv2.COLOR_RGB2HSV), np.float32)


def hsv_bands(rgb: Rgb) -> Iterator[tuple[slice, Hsv]]:
    """Hue, saturation and value of some rows after the other, never of the whole picture."""
    for rows in bands(rgb.shape):
        yield rows, hsv_of(rgb[rows])


def glass_colour(rgb: Rgb) -> npt.NDArray[np.float64]:
    """The colour of the glass, three numbers 0-255: the median of the brightest pale pixels.

    White is returned for a picture that shows no glass.
    """
    pale = np.empty(rgb.shape[:2], bool)
    of_brightness = np.zeros(_BRIGHTNESSES, np.int64)
    for rows, hsv in hsv_bands(rgb):
        pale[rows] = hsv[..., 1] < _MAX_GLASS_SATURATION
        of_brightness += np.bincount(_brightness(rgb[rows])[pale[rows]], minlength=_BRIGHTNESSES)
    if pale.mean() < 0.001 or not of_brightness[3 * 100 :].any():
        return np.full(3, 255.0)
    brightest = _percentile(of_brightness, 0.99) / 3
    is_bright = np.arange(_BRIGHTNESSES) / 3 >= brightest - _GLASS_SPREAD
    colours = np.zeros((3, 256), np.int64)
    for rows in bands(rgb.shape):
        colours += _channel_counts(rgb[rows], pale[rows] & is_bright[_brightness(rgb[rows])])
    return np.asarray([median_of_counts(counts) for counts in colours])


def _brightness(rgb: Rgb) -> npt.NDArray[np.uint16]:
    """Red, green and blue together, 0-765."""
    return rgb[..., 0].astype(np.uint16) + rgb[..., 1] + rgb[..., 2]


def _percentile(counts: npt.NDArray[np.int64], share: float) -> float:
    """The number below which this share lies, of whole numbers of which `counts[i]` are i."""
    below = np.cumsum(counts)
    place = share * (int(below[-1]) - 1)
    low, high = np.searchsorted(below, [np.floor(place) + 1, np.ceil(place) + 1])
    return float(low + (high - low) * (place % 1))


def _channel_counts(rgb: Rgb, which: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """(3, 256) how many of some pixels have each value, by channel."""
    return np.stack([np.bincount(rgb[..., c][which], minlength=256) for c in range(3)])


def balance(rgb: Rgb, glass: npt.NDArray[np.float64]) -> Rgb:
    """The picture as if its glass were white, so that a tint does not count as stain.

    Only the tint is taken out: the brightest channel of the glass keeps its value.
    """
    factor = glass.max() / np.maximum(glass, 1)
    table = np.minimum(np.rint(np.arange(256)[:, None] * factor), 255).astype(np.uint8)
    return np.asarray(cv2.LUT(rgb, table[None]), np.uint8)


def coloured_glass(rgb: Rgb) -> tuple[int, int, int] | None:
    """The colour of a flat background that neither glass nor stain can have, if there is one.

    Such a background means that the file's colours are decoded wrongly (a DICOM header with
    the wrong colour space, for example): every colour rule would then be meaningless. It
    covers at least a quarter of the picture and half of its edge, evenly.
    """
    kinds = np.zeros(1 << 15, np.int64)
    for rows in bands(rgb.shape):
        kinds += np.bincount(_coarse(rgb[rows]).ravel(), minlength=1 << 15)
    commonest = int(kinds.argmax())
    colours = np.zeros((3, 256), np.int64)
    for rows in bands(rgb.shape):
        colours += _channel_counts(rgb[rows], _coarse(rgb[rows]) == commonest)
    colour = np.asarray([median_of_counts(counts) for counts in colours])
    is_near = np.abs(np.arange(256)[:, None] - colour) <= 8

    def near(part: Rgb) -> npt.NDArray[np.bool_]:
        r, g, b = (is_near[part[..., c], c] for c in range(3))
        return np.asarray(r & g & b)

    share = sum(int(near(rgb[rows]).sum()) for rows in bands(rgb.shape)) / kinds.sum()
    edge = np.concatenate([near(side) for side in (rgb[0], rgb[-1], rgb[:, 0], rgb[:, -1])])
    if share < 0.25 or edge.mean() < 0.5:
        return None
    hue, saturation, value = hsv_of(colour.astype(np.uint8).reshape(1, 1, 3))[0, 0]
    stained = _STAIN_HUES[0] <= hue <= _STAIN_HUES[1]
    if value < 0.5 or saturation < _MAX_GLASS_SATURATION or stained:
        return None
    red, green, blue = (int(c) for c in colour)
    return red, green, blue


def _coarse(rgb: Rgb) -> npt.NDArray[np.uint16]:
    """The colours in steps of eight, as one number each."""
    red, green, blue = ((rgb[..., c] >> 3).astype(np.uint16) for c in range(3))
    return np.asarray(red << 10 | green << 5 | blue, np.uint16)


def is_dark_field(rgb: Rgb) -> bool:
    """Whether the background is black, as in fluorescence, and nothing transmits white light.

    Glass and stain let all three colours through; a fluorescent dye shines in one or two.
    """
    red, green, blue = (rgb[..., c] for c in range(3))
    dark = (np.maximum(np.maximum(red, green), blue) < 2 * BLACK_VALUE * 255).mean() > 0.5
    transmits = (np.minimum(np.minimum(red, green), blue) > 0.3 * 255).mean() > 0.05
    return bool(dark and not transmits)
