"""What is on the glass besides tissue: pen strokes, and the label dot that may betray a grade.

Both keep clear of the tissue. The **label dot** is the confounder of the demonstration
cohort: it stands inside a region square, so that plain attention reads it, and so far from
the tissue that no patch shows both, so that masked attention cannot.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from hvit_cli.demo.noise import slanted_noise
from hvit_cli.errors import SlideError
from hvit_cli.settings import ReadingSettings, TilingSettings
from hvit_cli.slides.geometry import SlideGeometry, plan_reading
from hvit_cli.slides.grid import Regions
from hvit_cli.tissue.mask import mask_over_slide
from hvit_cli.tissue.regions import lay_regions

Mask = npt.NDArray[np.bool_]
Raster = npt.NDArray[np.uint8]

PEN_COLOURS = {"blue": (0.30, 0.38, 0.80), "green": (0.22, 0.62, 0.40), "black": (0.2, 0.2, 0.22)}
DOT_COLOUR = (0.85, 0.15, 0.10)
DOT_RADIUS_UM = 48.0

# From the tissue to the dot's edge: more than a patch, whatever grid is laid over it, and
# some for a segmentation that draws its border a little outside the tissue.
DOT_CLEARANCE_UM = 158.0
_MIN_REGION_TISSUE = 0.14
_PEN_CLEARANCE_UM = 60.0
# A segmentation that starts its grid a little elsewhere must still have the dot inside.
_RIM_UM = 24.0


def dot_places(tissue: Mask, downsample: int, spacing_um: float) -> Mask:
    """Where the dot's centre may lie: (rows, columns) like `tissue`.

    Far enough from tissue, and with room inside a region that is sure to be kept.

    Args:
        tissue: Coarse mask, `downsample` times smaller than level 0.
        downsample: Level-0 pixels per pixel of the mask.
        spacing_um: Micrometres per level-0 pixel.
    """
    radius = DOT_RADIUS_UM / spacing_um / downsample
    reach = int(np.ceil(DOT_CLEARANCE_UM / spacing_um / downsample + radius))
    near = cv2.dilate(tissue.astype(np.uint8), np.ones((2 * reach + 1,) * 2, np.uint8)) > 0
    regions = _sure_regions(tissue, downsample, spacing_um)
    rim = radius + _RIM_UM / spacing_um / downsample
    side = regions.region_level0 / downsample
    inside = np.zeros(tissue.shape, bool)
    for x, y in regions.origin_level0 / downsample:
        rows = slice(round(y + rim), max(round(y + side - rim), 0))
        columns = slice(round(x + rim), max(round(x + side - rim), 0))
        inside[rows, columns] = True
    # The dot must be on the slide as a whole.
    edge = int(np.ceil(rim))
    inside[:edge], inside[:, :edge], inside[-edge:], inside[:, -edge:] = False, False, False, False
    return np.asarray(inside & ~near, np.bool_)


def _sure_regions(tissue: Mask, downsample: int, spacing_um: float) -> Regions:
    """The regions of the exact mask that an approximate one would keep, too."""
    rows, columns = tissue.shape
    size_level0 = (columns * downsample, rows * downsample)
    geometry = SlideGeometry(sizes=(size_level0,), downsamples=(1.0,), spacing_um=spacing_um)
    reading = ReadingSettings()
    plan = plan_reading(geometry, reading.spacing_um, reading.spacing_tolerance)
    mask = mask_over_slide(tissue.astype(np.uint8), size_level0, spacing_um, "external")
    regions = lay_regions(mask, plan, TilingSettings()).kept
    return regions.select(regions.region_tissue_fraction >= _MIN_REGION_TISSUE)


def draw_dot(
    rng: np.random.Generator, picture: Raster, tissue: Mask, downsample: int, spacing_um: float
) -> tuple[int, int]:
    """Draws the label dot, in place; returns its centre (x, y) in level-0 pixels.

    Args:
        rng: Source of randomness.
        picture: (rows, columns, 3) level 0.
        tissue: Coarse mask, `downsample` times smaller.
        downsample: Level-0 pixels per pixel of the mask.
        spacing_um: Micrometres per level-0 pixel.

    Raises:
        SlideError: No place on this slide is inside a region and clear of the tissue.
    """
    row, column = np.nonzero(dot_places(tissue, downsample, spacing_um))
    if not len(row):
        raise SlideError("no room for a label dot on the glass inside the regions")
    chosen = int(rng.integers(len(row)))
    x, y = int((column[chosen] + 0.5) * downsample), int((row[chosen] + 0.5) * downsample)
    radius = DOT_RADIUS_UM / spacing_um * rng.uniform(0.85, 1.0)
    reach = int(radius + 4)
    cover = np.zeros((2 * reach + 1, 2 * reach + 1), np.uint8)
    cv2.circle(cover, (reach, reach), int(radius), 255, -1, cv2.LINE_AA)
    box = (slice(y - reach, y + reach + 1), slice(x - reach, x + reach + 1))
    picture[box] = inked(picture[box], cover, DOT_COLOUR)
    return x, y


def draw_pen(
    rng: np.random.Generator,
    picture: Raster,
    tissue: Mask,
    downsample: int,
    spacing_um: float,
    colour: str,
) -> None:
    """Draws one broad stroke of felt pen on free glass, in place; arguments as `draw_dot`."""
    rows, columns = tissue.shape
    width = int(rng.uniform(160, 320) / spacing_um / downsample)
    clear = int(_PEN_CLEARANCE_UM / spacing_um / downsample)
    kernel = np.ones((2 * clear + 1, 2 * clear + 1), np.uint8)
    near = cv2.dilate(tissue.astype(np.uint8), kernel)
    best: Raster | None = None
    chosen: npt.NDArray[np.int32] | None = None
    least = np.inf
    for _ in range(24):
        stroke = np.zeros((rows, columns), np.uint8)
        line = _stroke_line(rng, rows, columns)
        cv2.polylines(stroke, [line], False, 255, max(width, 2), cv2.LINE_AA)
        overlap = float(((stroke > 0) & (near > 0)).sum()) / max(int((stroke > 0).sum()), 1)
        if overlap < least:
            best, chosen, least = stroke, line, overlap
        if overlap == 0:
            break
    if best is None or chosen is None:
        return
    best[near > 0] = 0
    # Felt pens leave streaks along the stroke and a darker rim where the ink dries.
    way: npt.NDArray[np.int32] = chosen[-1] - chosen[0]
    streaks = 0.93 - 0.05 * slanted_noise(
        rng,
        (rows, columns),
        length_px=1400 / spacing_um / downsample,
        width_px=24 / spacing_um / downsample,
        angle=float(np.arctan2(way[1], way[0])),
    )
    rim = cv2.GaussianBlur(best, (0, 0), max(12 / spacing_um / downsample, 0.5))
    streaks = streaks + 0.10 * (rim < 250)
    cover = np.asarray(np.clip(best * streaks, 0, 255), np.uint8)
    used_rows, used_columns = np.flatnonzero(cover.any(axis=1)), np.flatnonzero(cover.any(axis=0))
    if not len(used_rows):
        return
    box = (
        slice(used_rows[0], used_rows[-1] + 1),
        slice(used_columns[0], used_columns[-1] + 1),
    )
    large = cv2.resize(cover[box], None, fx=downsample, fy=downsample)
    target = tuple(slice(s.start * downsample, s.stop * downsample) for s in box)
    picture[target] = inked(picture[target], np.asarray(large, np.uint8), PEN_COLOURS[colour])


def _stroke_line(rng: np.random.Generator, rows: int, columns: int) -> npt.NDArray[np.int32]:
    start = rng.uniform(0, 1, 2) * (columns, rows)
    length = rng.uniform(0.10, 0.35) * max(rows, columns)
    angle = rng.uniform(0, 2 * np.pi)
    t = np.linspace(0, 1, 24)[:, None]
    way = np.array([[np.cos(angle), np.sin(angle)]]) * length
    across = np.array([[-np.sin(angle), np.cos(angle)]]) * length
    line = start + t * way + np.sin(np.pi * t) * across * rng.uniform(-0.25, 0.25)
    return np.round(line).astype(np.int32)


def inked(glass: Raster, cover: Raster, colour: tuple[float, float, float]) -> Raster:
    """Ink lets `colour` of the light through where it covers, all of it elsewhere."""
    share = cover[..., None].astype(np.float32) / 255
    light = 1 - share * (1 - np.asarray(colour, np.float32))
    return np.asarray(np.round(glass * light), np.uint8)
