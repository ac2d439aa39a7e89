"""A region unrolled: its patches drawn apart, tissue and background told from each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from hvit_cli.heatmaps.blocks import FAINT_INK, Paragraph
from hvit_cli.heatmaps.render import RgbImage

_TISSUE = (46, 125, 50)
_BACKGROUND = (160, 60, 30)
_WHITE = 255


@dataclass(frozen=True, kw_only=True)
class UnrolledText:
    """What stands around the patches.

    Attributes:
        title: Slide and region.
        verdict: What is said of the counts and of the model.
    """

    title: str
    verdict: str


def unrolled_region(
    region: RgbImage,
    background: npt.NDArray[np.bool_],
    words: UnrolledText,
    *,
    max_px: int,
) -> RgbImage:
    """Draws the patches of a region with gaps between them.

    Background patches are faded and crossed out: masked attention never sees them.

    Args:
        region: (side · patch, side · patch, 3) pixels of the region.
        background: (side, side) True for patches without tissue.
        words: What is written.
        max_px: Longer side of the picture.

    Returns:
        (height, width, 3) uint8.
    """
    side = len(background)
    em = max(11, max_px // 60)
    parts = [
        Paragraph(text=words.title, em_px=round(1.35 * em), bold=True),
        Paragraph(text=words.verdict, em_px=em, faint=True),
        Paragraph(
            text="Green: a patch with tissue. Crossed out: background, which masked attention "
            "never sees. Not for diagnosis.",
            em_px=em,
            faint=True,
        ),
    ]
    head_h = 0
    # The text wraps by the picture's width, so both are found together.
    for _ in range(3):
        grid_px = max_px - 2 * em - head_h
        head_h = sum(part.height_px(grid_px) for part in parts) + em
    gap = max(3, grid_px // (side * 12))
    cell = (grid_px - (side - 1) * gap) // side
    grid_px = side * cell + (side - 1) * gap
    image = Image.new("RGB", (grid_px + 2 * em, grid_px + 2 * em + head_h), (_WHITE,) * 3)
    top = em
    for part in parts[:1]:
        part.draw(image, em, top, grid_px)
        top += part.height_px(grid_px)
    top += em // 2
    patch = len(region) // side
    for row in range(side):
        for column in range(side):
            pixels = region[row * patch : (row + 1) * patch, column * patch : (column + 1) * patch]
            corner = (em + column * (cell + gap), top + row * (cell + gap))
            _draw(image, pixels, bool(background[row, column]), corner, cell, gap)
    top += grid_px + em // 2
    for part in parts[1:]:
        part.draw(image, em, top, grid_px)
        top += part.height_px(grid_px)
    return np.asarray(image)


def _draw(
    image: Image.Image,
    pixels: RgbImage,
    background: bool,
    corner: tuple[int, int],
    cell: int,
    gap: int,
) -> None:
    x, y = corner
    if background:
        pixels = (_WHITE - (_WHITE - pixels.astype(np.int64)) // 3).astype(np.uint8)
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    image.paste(picture.resize((cell, cell), Image.Resampling.LANCZOS), corner)
    pen = ImageDraw.Draw(image)
    thick = max(1, gap // 4)
    if background:
        pen.line((x, y, x + cell - 1, y + cell - 1), fill=_BACKGROUND, width=thick)
        pen.rectangle((x, y, x + cell - 1, y + cell - 1), outline=FAINT_INK)
    else:
        box = (x - thick, y - thick, x + cell - 1 + thick, y + cell - 1 + thick)
        pen.rectangle(box, outline=_TISSUE, width=thick)
