"""DINO's colour changes of a crop: jitter, loss of colour, blur and inverted highlights.

Brightness, contrast, saturation and hue are one affine map of RGB. In terms of luma Y and
chroma (I, Q) of the YIQ colour space, brightness scales all three, contrast scales all about
(mean Y, 0, 0), saturation scales chroma, and hue rotates it. As such they commute: the random
order in which others apply them would change nothing but what is clipped in between, and here
values are rounded and clipped once, at the end. Loss of colour is saturation 0.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

Rgb = npt.NDArray[np.uint8]
Matrix = npt.NDArray[np.float64]

LUMA = np.array([0.299, 0.587, 0.114])
"""Weights of red, green and blue in Y (ITU-R BT.601)."""
# RGB to YIQ, FCC 1953 (NTSC).
_YIQ = np.array(
    [LUMA, [0.595716, -0.274453, -0.321263], [0.211456, -0.522591, 0.311135]], np.float64
)
_RGB = np.linalg.inv(_YIQ)
_INVERTED = np.where(np.arange(256) >= 128, 255 - np.arange(256), np.arange(256)).astype(np.uint8)


def jitter_matrices(
    brightness: Matrix, contrast: Matrix, saturation: Matrix, hue_turns: Matrix
) -> tuple[Matrix, Matrix]:
    """The affine maps of a number of crops: rgb → linear @ rgb + lift · mean luma.

    Args:
        brightness: (n,) factors; 1 changes nothing.
        contrast: (n,) factors.
        saturation: (n,) factors; 0 is grey.
        hue_turns: (n,) shifts in turns of the colour circle.

    Returns:
        (n, 3, 3) linear parts and (n,) lifts.
    """
    # Counted from red over green to blue, as hue is; YIQ has them the other way round.
    angle = -2 * np.pi * hue_turns
    inner = np.zeros((len(brightness), 3, 3))
    inner[:, 0, 0] = 1
    inner[:, 1, 1] = inner[:, 2, 2] = saturation * np.cos(angle)
    inner[:, 1, 2] = -saturation * np.sin(angle)
    inner[:, 2, 1] = saturation * np.sin(angle)
    linear = (brightness * contrast)[:, None, None] * (_RGB @ inner @ _YIQ)
    return linear, brightness * (1 - contrast)


def changed(pixels: Rgb, linear: Matrix, lift: float) -> Rgb:
    """A crop under one affine map, rounded and clipped once.

    Args:
        pixels: (h, w, 3).
        linear: (3, 3).
        lift: Share of the crop's mean luma that is added to every channel.
    """
    offset = lift * float(LUMA @ np.asarray(cv2.mean(pixels)[:3]))
    matrix = np.concatenate([linear, np.full((3, 1), offset)], axis=1)
    return np.asarray(cv2.transform(pixels, matrix), np.uint8)


def blurred(pixels: Rgb, sigma_px: float) -> Rgb:
    """A crop under a Gaussian filter cut off at three standard deviations."""
    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), sigma_px), np.uint8)


def solarized(pixels: Rgb) -> Rgb:
    """A crop whose values from 128 up are inverted."""
    return np.asarray(cv2.LUT(pixels, _INVERTED), np.uint8)
