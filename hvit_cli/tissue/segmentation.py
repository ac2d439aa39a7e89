"""Tissue told from glass by its colour, on a small picture of the whole slide."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from hvit_cli.errors import TissueError
from hvit_cli.settings import TissueSettings
from hvit_cli.slides.reader import Slide
from hvit_cli.tissue.glass import (
    BLACK_VALUE,
    Rgb,
    balance,
    coloured_glass,
    glass_colour,
    hsv_bands,
    is_dark_field,
)
from hvit_cli.tissue.mask import TissueMask, mask_over_slide
from hvit_cli.tissue.morphology import Mask, close_gaps, fill_holes, remove_small, remove_thin
from hvit_cli.tissue.pen import find_pen


@dataclass(frozen=True, kw_only=True)
class Segmentation:
    """What a picture of a slide shows.

    Attributes:
        tissue: (h, w) uint8, 1 where there is tissue.
        pen: (h, w) uint8, 1 where there is ink.
        note: What was peculiar, for the table of slides; empty mostly.
    """

    tissue: Mask
    pen: Mask
    note: str = ""


def segment_slide(slide: Slide, settings: TissueSettings) -> TissueMask:
    """Finds the tissue of a slide on a picture near the spacing of segmentation.

    Raises:
        TissueError: The background has a colour that glass cannot have.
        PixelError: The slide cannot be decoded.
    """
    rgb, level0_per_px = slide.at_spacing(settings.segment_spacing_um)
    spacing_um = slide.geometry.spacing_um * sum(level0_per_px) / 2
    found = segment(rgb, spacing_um, settings, where=slide.path)
    mask = mask_over_slide(
        found.tissue, slide.geometry.size_level0, slide.geometry.spacing_um, "segmented"
    )
    pen_mm2 = int(np.count_nonzero(found.pen)) * mask.pixel_mm2
    return replace(mask, pen_mm2=pen_mm2, note=found.note)


def segment_tissue(rgb: Rgb, spacing_um: float, settings: TissueSettings) -> Mask:
    """The tissue of a picture: (h, w) uint8, 1 where there is tissue; see `segment`."""
    return segment(rgb, spacing_um, settings).tissue


def segment(
    rgb: Rgb, spacing_um: float, settings: TissueSettings, *, where: Path | None = None
) -> Segmentation:
    """Finds tissue and pen marks in a picture of a whole slide.

    In order: median filter, saturation relative to the glass, half of Otsu's threshold held
    between a floor and a ceiling, closing, thin objects removed, small holes filled, small
    objects removed. Otsu's threshold lies halfway between glass and stain; half of it keeps
    pale edges and folds.

    Args:
        rgb: (h, w, 3) uint8 picture of the slide.
        spacing_um: Micrometres per pixel of the picture.
        settings: Sizes and thresholds.
        where: Name of the slide, for messages.

    Raises:
        TissueError: The background has a colour that glass cannot have.
    """
    nothing = np.zeros(rgb.shape[:2], np.uint8)
    if is_dark_field(rgb):
        return Segmentation(
            tissue=nothing, pen=nothing, note="dark background: not a stained slide in bright field"
        )
    smooth = np.asarray(cv2.medianBlur(rgb, _odd_px(settings.median_um, spacing_um)), np.uint8)
    wrong = coloured_glass(smooth)
    if wrong is not None:
        raise TissueError(
            "the background is coloured, so the file's colours are probably decoded wrongly",
            where=where,
            found="RGB {} {} {}".format(*wrong),
            wanted="white or grey glass",
            hint="--mask-dir with a mask of your own, once you have checked the colours",
        )
    balanced = balance(smooth, glass_colour(smooth))
    del smooth
    pen = find_pen(balanced, rgb, spacing_um, settings.min_pen_mm2)
    least = _threshold(balanced, pen, settings)
    tissue = np.empty(rgb.shape[:2], np.uint8)
    for rows, hsv in hsv_bands(balanced):
        stained = (hsv[..., 1] > least) & (hsv[..., 2] > BLACK_VALUE)
        tissue[rows] = stained & (pen[rows] == 0)
    tissue = close_gaps(tissue, settings.closing_um, spacing_um)
    tissue = remove_thin(tissue, settings.min_width_um, spacing_um)
    tissue = fill_holes(tissue, settings.max_hole_mm2, spacing_um) & (1 - pen)
    tissue = remove_small(tissue, settings.min_tissue_mm2, spacing_um)
    return Segmentation(tissue=tissue, pen=pen)


def _odd_px(size_um: float, spacing_um: float) -> int:
    return max(round(size_um / spacing_um) | 1, 3)


def _threshold(balanced: Rgb, pen: Mask, settings: TissueSettings) -> float:
    plain = np.concatenate(
        [
            np.rint(hsv[..., 1][pen[rows] == 0] * 255).astype(np.uint8)
            for rows, hsv in hsv_bands(balanced)
        ]
    )
    if plain.size == 0:
        return settings.saturation_floor
    otsu, _ = cv2.threshold(plain.reshape(-1, 1), 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    return float(np.clip(otsu / 255 / 2, settings.saturation_floor, settings.saturation_ceiling))
