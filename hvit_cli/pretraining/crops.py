"""Which part of a patch a crop shows, which way up, and how it is brought to its size."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

Rgb = npt.NDArray[np.uint8]
Uniforms = npt.NDArray[np.float64]

TRIES = 10
"""Rectangles drawn before the largest one that fits is taken, as torchvision does."""
UNIFORMS = 2 * TRIES + 2
"""Numbers that one crop's place takes."""

# Turned by quarters without being mirrored, and after being mirrored left to right.
_ROTATIONS = (None, cv2.ROTATE_90_COUNTERCLOCKWISE, cv2.ROTATE_180, cv2.ROTATE_90_CLOCKWISE)


def place_crops(
    uniforms: Uniforms, side_px: int, scale: tuple[float, float], aspect: tuple[float, float]
) -> npt.NDArray[np.int64]:
    """Where crops lie: area uniform in `scale`, logarithm of width over height in `aspect`.

    A rectangle that sticks out is drawn again, up to ten times; then the largest rectangle
    of the nearest permitted aspect is taken, in the middle (torchvision's RandomResizedCrop).

    Args:
        uniforms: (n, UNIFORMS) numbers from [0, 1).
        side_px: Side of the patches.
        scale: Smallest and largest share of the patch's area.
        aspect: Smallest and largest width over height.

    Returns:
        (n, 4) left, top, width, height in pixels of the patch.
    """
    drawn = uniforms[:, : 2 * TRIES].reshape(-1, TRIES, 2)
    area = (scale[0] + drawn[..., 0] * (scale[1] - scale[0])) * side_px**2
    low, high = np.log(aspect)
    ratio = np.exp(low + drawn[..., 1] * (high - low))
    sizes = np.rint(np.sqrt(np.stack([area * ratio, area / ratio], axis=-1))).astype(np.int64)
    sizes = np.maximum(sizes, 1)
    fits = (sizes <= side_px).all(axis=-1)  # (n, TRIES)
    first = fits.argmax(axis=1)
    size = sizes[np.arange(len(sizes)), first]
    corner = np.floor(uniforms[:, 2 * TRIES :] * (side_px - size + 1)).astype(np.int64)
    never = ~fits.any(axis=1)
    if never.any():
        size[never] = _largest(side_px, aspect)
        corner[never] = (side_px - size[never]) // 2
    return np.concatenate([corner, size], axis=1)


def _largest(side_px: int, aspect: tuple[float, float]) -> tuple[int, int]:
    ratio = min(max(1.0, aspect[0]), aspect[1])
    return round(side_px * min(1.0, ratio)), round(side_px * min(1.0, 1 / ratio))


def cut(patch: Rgb, place: npt.NDArray[np.int64], side_px: int) -> Rgb:
    """The pixels of a crop, brought to `side_px` a side.

    An axis that shrinks is averaged over areas (each output pixel the exact mean of what it
    covers, which is the antialiasing filter); an axis that grows is interpolated linearly.

    Args:
        patch: (h, w, 3) pixels.
        place: (4,) left, top, width, height.
        side_px: Side of the crop.
    """
    left, top, width, height = (int(edge) for edge in place)
    pixels = patch[top : top + height, left : left + width]
    narrow, low = min(width, side_px), min(height, side_px)
    if (narrow, low) != (width, height):
        pixels = _resized(pixels, (narrow, low), cv2.INTER_AREA)
    if (narrow, low) != (side_px, side_px):
        pixels = _resized(pixels, (side_px, side_px), cv2.INTER_LINEAR)
    return np.ascontiguousarray(pixels)


def _resized(pixels: Rgb, size_px: tuple[int, int], interpolation: int) -> Rgb:
    return np.asarray(cv2.resize(pixels, size_px, interpolation=interpolation), np.uint8)


def turned(pixels: Rgb, *, mirrored: bool, quarters: int) -> Rgb:
    """A crop mirrored left to right and then turned by quarters.

    The two together reach all eight positions of a square.

    Args:
        pixels: (h, w, 3) pixels.
        mirrored: Whether left and right change places.
        quarters: Quarter turns against the clock, 0 to 3.
    """
    rotation = _ROTATIONS[quarters]
    if mirrored and quarters % 2:
        # Mirroring and a quarter turn make a transposition, about the one or other diagonal.
        return np.asarray(cv2.transpose(pixels if quarters == 1 else cv2.flip(pixels, -1)))
    if mirrored:
        return np.asarray(cv2.flip(pixels, 0 if quarters else 1))
    return pixels if rotation is None else np.asarray(cv2.rotate(pixels, rotation))
