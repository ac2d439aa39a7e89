"""From a raster of values to colours over the slide."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from hvit_cli.errors import UsageError
from hvit_cli.heatmaps.maps import PatchMap
from hvit_cli.heatmaps.stitch import PictureFrame
from hvit_cli.settings import Scale

RgbImage = npt.NDArray[np.uint8]

SAFE_COLOUR_MAPS = ("viridis", "cividis", "inferno", "magma", "plasma")
"""Readable with every kind of colour blindness, and in grey."""

LINE = (90, 90, 90)
"""Colour of the borders of regions."""

_COLOURS = 256
_BAND_ROWS = 128
# What is left of the light, and what is taken of the stain, where a picture is dimmed.
_DIMMED = 0.55
_FADED = 0.8

LUMINANCE = np.array([0.299, 0.587, 0.114])
"""Weights of red, green and blue in luminance (ITU-R BT.601)."""


def colour_table(name: str) -> RgbImage:
    """(256, 3) colours of a matplotlib colour map, lowest value first.

    Raises:
        UsageError: Matplotlib knows no such map.
    """
    import matplotlib

    if name not in matplotlib.colormaps:
        raise UsageError(
            "no such colour map",
            where="--colour-map",
            found=name,
            wanted=f"{', '.join(SAFE_COLOUR_MAPS)} or another of matplotlib's",
        )
    rgba = matplotlib.colormaps[name](np.linspace(0, 1, _COLOURS))
    return np.asarray(np.rint(rgba[:, :3] * 255), np.uint8)


def colour_range(
    scale: Scale,
    maps: Sequence[PatchMap],
    asked: tuple[float, float] | None = None,
    percentile: tuple[float, float] | None = None,
) -> tuple[float, float]:
    """The values at both ends of the colours, one pair for all panels of a figure.

    Where 0 is neutral it is the middle of the colours, whatever the values.

    Args:
        scale: The scale the maps are on.
        maps: The maps that will be painted, already on that scale.
        asked: What the user wants, if anything.
        percentile: Ends at these percentiles of all visible values; of signed maps the second
            one, of their sizes, counts.

    Raises:
        UsageError: The range asked for is not symmetric, and a map is signed.
    """
    signed = any(one.signed for one in maps)
    if asked is not None:
        if signed and asked[0] != -asked[1]:
            raise UsageError(
                "the map is signed, so 0 must be the middle of the colours",
                where="--colour-range",
                found=f"{asked[0]:g} {asked[1]:g}",
                hint=f"--colour-range {-max(map(abs, asked)):g} {max(map(abs, asked)):g}",
            )
        return asked
    seen = np.concatenate([np.zeros(0), *(one.value[one.visible] for one in maps)])
    if signed:
        upper = 100.0 if percentile is None else percentile[1]
        largest = float(np.percentile(np.abs(seen), upper)) if len(seen) else 0.0
        return (-(largest or 1.0), largest or 1.0)
    if percentile is not None and len(seen):
        low, high = (float(end) for end in np.percentile(seen, percentile))
        return (low, high) if low < high else (low, low + 1.0)
    if scale == "relative":
        return (0.0, 3.0)
    if scale == "raw":
        return (0.0, float(seen.max(initial=0)) or 1.0)
    return (0.0, 1.0)


def colours(
    values: npt.NDArray[np.floating], table: RgbImage, limits: tuple[float, float]
) -> RgbImage:
    """(…, 3) colour of each value, clipped to the range; NaN gets the lowest colour."""
    low, high = limits
    share = np.nan_to_num((values.astype(np.float64) - low) / (high - low), nan=0.0)
    index = np.clip(share * _COLOURS, 0, _COLOURS - 1).astype(np.intp)
    return table[index]


def paint(
    picture: RgbImage,
    values: npt.NDArray[np.float32],
    table: RgbImage,
    limits: tuple[float, float],
    opacity: float,
) -> RgbImage:
    """Colours over the slide; pixels without a value keep the slide's own pixel exactly.

    The stain fades to grey under the colours, entirely from opacity 0.5 on: pink and violet
    would shift every hue away from the colour bar. Light and dark, and so the glands, remain.

    Args:
        picture: (h, w, 3) uint8 picture of the slide.
        values: (h, w) float32, NaN where nothing is to be seen.
        table: (256, 3) uint8 colours.
        limits: Values at both ends of the colours.
        opacity: 0 shows the slide alone, 1 the colours alone.
    """
    painted = picture.copy()
    for top in range(0, len(picture), _BAND_ROWS):
        band = slice(top, top + _BAND_ROWS)
        seen = ~np.isnan(values[band])
        under = picture[band][seen].astype(np.float64)  # (n, 3)
        over = colours(values[band][seen], table, limits)
        under += min(1.0, 2 * opacity) * (under @ LUMINANCE[:, None] - under)
        painted[band][seen] = np.rint(under + opacity * (over - under)).astype(np.uint8)
    return painted


def dim(picture: RgbImage, where: npt.NDArray[np.bool_]) -> RgbImage:
    """Takes light and most of the stain from the pixels of `where`; the others stay exactly."""
    dimmed = picture.copy()
    under = picture[where].astype(np.float64)  # (n, 3)
    under += _FADED * (under @ LUMINANCE[:, None] - under)
    dimmed[where] = np.rint(under * _DIMMED).astype(np.uint8)
    return dimmed


def region_boxes_px(patch_map: PatchMap, frame: PictureFrame) -> npt.NDArray[np.int64]:
    """(M, 4) left, top, right, bottom of the regions in picture pixels, ends excluded."""
    low = patch_map.region_xy_level0.astype(np.float64)
    high = low + patch_map.region_level0
    return np.stack(
        [
            frame.px_from_level0(low[:, 0], 0),
            frame.px_from_level0(low[:, 1], 1),
            frame.px_from_level0(high[:, 0], 0),
            frame.px_from_level0(high[:, 1], 1),
        ],
        axis=1,
    )


def mask_in_frame(
    mask: npt.NDArray[np.uint8],
    frame: PictureFrame,
    slide_level0: tuple[int, int],
    rows_px: tuple[int, int] | None = None,
) -> npt.NDArray[np.bool_]:
    """(h, w) tissue of the slide at the picture's pixels, by the mask pixel at their centre.

    Args:
        mask: (h, w) tissue mask of the whole slide.
        frame: The picture.
        slide_level0: (width, height) of the slide in level-0 pixels.
        rows_px: First row and end of the rows wanted; nothing gives all.
    """
    top, bottom = (0, frame.size_px[1]) if rows_px is None else rows_px
    row = _mask_pixel(frame.centres_level0(top, bottom, 1), slide_level0[1], mask.shape[0])
    column = _mask_pixel(
        frame.centres_level0(0, frame.size_px[0], 0), slide_level0[0], mask.shape[1]
    )
    tissue = mask[np.ix_(np.maximum(row, 0), np.maximum(column, 0))] > 0
    return np.asarray(tissue & (row >= 0)[:, None] & (column >= 0)[None])


def _mask_pixel(
    centre_level0: npt.NDArray[np.float64], side_level0: int, side_px: int
) -> npt.NDArray[np.intp]:
    """The mask pixel that holds each position, -1 outside the slide."""
    index = np.floor(centre_level0 * (side_px / side_level0)).astype(np.intp)
    return np.where((index >= 0) & (index < side_px), index, -1)


def dropped_tissue(
    tissue: npt.NDArray[np.bool_], boxes_px: npt.NDArray[np.int64], top_px: int = 0
) -> npt.NDArray[np.bool_]:
    """(h, w) tissue that lies in no region and that the model therefore never saw.

    Args:
        tissue: (h, w) tissue at the rows of the picture from `top_px` on.
        boxes_px: (M, 4) regions in picture pixels.
        top_px: Row of the picture at which `tissue` begins.
    """
    dropped = tissue.copy()
    for left, top, right, bottom in boxes_px.tolist():
        dropped[max(top - top_px, 0) : max(bottom - top_px, 0), left:right] = False
    return dropped


def hatch(
    picture: RgbImage, where: npt.NDArray[np.bool_], step_px: int, top_px: int = 0
) -> RgbImage:
    """Draws diagonal lines, `step_px` apart, over the pixels of `where`.

    `top_px` is the row of the whole picture at which these rows begin.
    """
    hatched = picture.copy()
    thick = max(1, step_px // 6)
    row, column = np.nonzero(where)
    stripe = (row + top_px + column) % step_px
    dark, light = stripe < thick, (stripe >= thick) & (stripe < 2 * thick)
    hatched[row[dark], column[dark]] = (40, 40, 40)
    # A light line beside the dark one keeps the hatching visible on dark tissue.
    hatched[row[light], column[light]] = (250, 250, 250)
    return hatched


def outline(
    picture: RgbImage, boxes_px: npt.NDArray[np.int64], thick_px: int, top_px: int = 0
) -> RgbImage:
    """Draws the border of every region, inside its own pixels.

    `top_px` is the row of the whole picture at which these rows begin.
    """
    drawn = picture.copy()
    for left, top, right, bottom in boxes_px.tolist():
        high, wide = min(thick_px, bottom - top), min(thick_px, right - left)
        for first, end, x0, x1 in (
            (top, top + high, left, right),
            (bottom - high, bottom, left, right),
            (top, bottom, left, left + wide),
            (top, bottom, right - wide, right),
        ):
            drawn[max(first - top_px, 0) : max(end - top_px, 0), x0:x1] = LINE
    return drawn


def tissue_border(tissue: npt.NDArray[np.bool_], thick_px: int) -> npt.NDArray[np.bool_]:
    """(h, w) tissue pixels less than `thick_px` from a pixel without tissue, both axes alike."""
    inside = tissue.copy()
    for _ in range(thick_px):
        kept = inside.copy()
        kept[1:] &= inside[:-1]
        kept[:-1] &= inside[1:]
        kept[:, 1:] &= inside[:, :-1]
        kept[:, :-1] &= inside[:, 1:]
        inside = kept
    return tissue & ~inside


def mask_picture(tissue: npt.NDArray[np.bool_]) -> RgbImage:
    """The tissue mask as a picture: tissue in one grey on white."""
    return np.where(tissue[..., None], np.uint8(150), np.uint8(255)).repeat(3, axis=2)
