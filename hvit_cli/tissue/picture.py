"""The overview of one slide for the eye: tissue, regions, patches, and what is left out."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from hvit_cli.slides.grid import Regions
from hvit_cli.tissue.mask import TissueMask
from hvit_cli.tissue.regions import RegionLayout

Rgb = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]

_TISSUE: Colour = (0, 130, 60)
_KEPT: Colour = (20, 60, 200)
_REJECTED: Colour = (235, 120, 0)
_DROPPED: Colour = (215, 0, 40)
_PATCH_LINE: Colour = (120, 140, 200)
_BACKGROUND_GREY = 120
_PAPER, _INK = (245, 245, 245), (30, 30, 30)
_LETTER_PX, _LINE_PX, _MARGIN_PX, _MIN_WIDTH_PX = 15, 22, 8, 520
_DASH_PX, _HATCH_PX = 8, 7
_BAR_LENGTHS_MM = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


def draw_overview(
    rgb: Rgb,
    mask: TissueMask,
    layout: RegionLayout | None = None,
    *,
    title: str = "",
    background_below: float = 0.0,
) -> Rgb:
    """Draws a slide's overview with a legend below it.

    Kept regions have a solid frame, their patches thin lines, and their background patches
    are grey, as in Figures 3 and 4 of the paper. Squares with too little tissue have dashed
    frames, and tissue outside every kept region is hatched.

    Args:
        rgb: (h, w, 3) picture of the whole slide.
        mask: Where the tissue is.
        layout: The regions; None draws the tissue alone.
        title: First words of the legend, the slide's name.
        background_below: Patches with at most this tissue fraction are background.

    Returns:
        (h + legend, max(w, legend), 3) RGB.
    """
    height, width = rgb.shape[:2]
    scale = (width / mask.size_level0[0], height / mask.size_level0[1])
    tissue = cv2.resize(mask.pixels, (width, height), interpolation=cv2.INTER_NEAREST)
    picture = rgb.copy()
    if layout is not None:
        _grey_background(picture, layout.kept, scale, background_below)
        _hatch(picture, np.asarray(tissue, np.uint8), layout.kept, scale)
    contours, _ = cv2.findContours(tissue, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, contours, -1, _TISSUE, 2)
    if layout is not None:
        _frame_patches(picture, layout.kept, scale)
        for box in _boxes(layout.rejected, scale):
            _dashed(picture, box)
        for left, top, right, bottom in _boxes(layout.kept, scale):
            cv2.rectangle(picture, (left, top), (right, bottom), _KEPT, 2)
    um_per_px = mask.spacing_um_level0 * mask.size_level0[0] / width
    return _with_legend(picture, _entries(mask, layout, title), um_per_px)


def _boxes(regions: Regions, scale: tuple[float, float]) -> npt.NDArray[np.int64]:
    """(M, 4) left, top, right, bottom of the regions in the picture."""
    corners = np.concatenate(
        [regions.origin_level0, regions.origin_level0 + regions.region_level0], axis=1
    )
    return np.asarray(np.rint(corners * [*scale, *scale]), np.int64)


def _patch_boxes(regions: Regions, scale: tuple[float, float]) -> npt.NDArray[np.int64]:
    """(M, K, 4) left, top, right, bottom of the patches in the picture."""
    origin = regions.patch_origin_level0
    corners = np.concatenate([origin, origin + regions.patch_level0], axis=2)
    return np.asarray(np.rint(corners * [*scale, *scale]), np.int64)


def _grey_background(
    picture: Rgb, regions: Regions, scale: tuple[float, float], background_below: float
) -> None:
    background = regions.tissue_fraction <= background_below
    for left, top, right, bottom in np.maximum(_patch_boxes(regions, scale)[background], 0):
        patch = picture[top:bottom, left:right]
        patch[:] = (patch.astype(np.uint16) + 2 * _BACKGROUND_GREY) // 3


def _frame_patches(picture: Rgb, regions: Regions, scale: tuple[float, float]) -> None:
    for left, top, right, bottom in _patch_boxes(regions, scale).reshape(-1, 4):
        cv2.rectangle(picture, (left, top), (right, bottom), _PATCH_LINE, 1)


def _hatch(
    picture: Rgb, tissue: npt.NDArray[np.uint8], kept: Regions, scale: tuple[float, float]
) -> None:
    dropped = tissue > 0
    for left, top, right, bottom in np.maximum(_boxes(kept, scale), 0):
        dropped[top:bottom, left:right] = False
    rows, columns = np.nonzero(dropped)
    line = (rows + columns) % _HATCH_PX < 2
    picture[rows[line], columns[line]] = _DROPPED


def _dashed(picture: Rgb, box: npt.NDArray[np.int64]) -> None:
    left, top, right, bottom = (int(edge) for edge in box)
    for x in range(left, right, 2 * _DASH_PX):
        for y in (top, bottom):
            cv2.line(picture, (x, y), (min(x + _DASH_PX, right), y), _REJECTED, 2)
    for y in range(top, bottom, 2 * _DASH_PX):
        for x in (left, right):
            cv2.line(picture, (x, y), (x, min(y + _DASH_PX, bottom)), _REJECTED, 2)


def _entries(
    mask: TissueMask, layout: RegionLayout | None, title: str
) -> list[tuple[str, Colour | None]]:
    """The legend: texts, each with the colour it explains."""
    entries: list[tuple[str, Colour | None]] = [
        (title, None),
        (f"tissue {mask.tissue_mm2:.2f} mm²", _TISSUE),
    ]
    if mask.pen_mm2:
        entries.append((f"pen {mask.pen_mm2:.2f} mm²", None))
    if layout is None:
        return entries
    return [
        *entries,
        (f"regions {len(layout.kept)}", _KEPT),
        (f"squares with too little tissue {len(layout.rejected)}", _REJECTED),
        (f"tissue in no region {layout.tissue_dropped_mm2:.2f} mm²", _DROPPED),
        ("background patch", (_BACKGROUND_GREY,) * 3),
    ]


def _with_legend(picture: Rgb, entries: list[tuple[str, Colour | None]], um_per_px: float) -> Rgb:
    width = max(picture.shape[1], _MIN_WIDTH_PX)
    placed: list[tuple[int, int, str, Colour | None]] = []
    x, line = _MARGIN_PX, 0
    for text, colour in entries:
        wide = _write(None, (0, 0), text) + (20 if colour else 0)
        if x + wide > width - _MARGIN_PX and x > _MARGIN_PX:
            x, line = _MARGIN_PX, line + 1
        placed.append((x, line, text, colour))
        x += wide + 2 * _MARGIN_PX
    lines = line + 2  # the last one holds the scale bar
    height = picture.shape[0]
    canvas = Image.new("RGB", (width, height + lines * _LINE_PX + _MARGIN_PX), _PAPER)
    canvas.paste(Image.fromarray(picture), (0, 0))
    draw = ImageDraw.Draw(canvas)
    for x, line, text, colour in placed:
        y = height + _MARGIN_PX // 2 + line * _LINE_PX
        if colour:
            draw.rectangle((x, y + 3, x + 13, y + 16), fill=colour)
        _write(draw, (x + (20 if colour else 0), y), text)
    _scale_bar(draw, height + (lines - 1) * _LINE_PX, width, um_per_px)
    return np.asarray(canvas, np.uint8)


def _write(draw: ImageDraw.ImageDraw | None, at: tuple[int, int], text: str) -> int:
    """Writes one line, or only measures it; returns its width.

    The font that comes with Pillow has no ², so it is set as a small raised 2.
    """
    x, y = at
    for n, part in enumerate(text.split("²")):
        if n:
            x += _set(draw, (x, y), "2", _LETTER_PX * 2 // 3)
        x += _set(draw, (x, y), part, _LETTER_PX)
    return x - at[0]


def _set(draw: ImageDraw.ImageDraw | None, at: tuple[int, int], text: str, size: int) -> int:
    font = ImageFont.load_default(size=size)
    if draw is not None:
        draw.text(at, text, fill=_INK, font=font)
    return round(font.getlength(text))


def _scale_bar(draw: ImageDraw.ImageDraw, top: int, width: int, um_per_px: float) -> None:
    fitting = [mm for mm in _BAR_LENGTHS_MM if mm * 1000 / um_per_px <= width / 3]
    length_mm = fitting[-1] if fitting else _BAR_LENGTHS_MM[0]
    end = _MARGIN_PX + round(length_mm * 1000 / um_per_px)
    draw.rectangle((_MARGIN_PX, top + 9, end, top + 12), fill=_INK)
    _write(draw, (end + _MARGIN_PX, top), f"{length_mm:g} mm")
