"""The finished figure: panels with titles, and around them what is needed to read them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from hvit_cli.heatmaps.blocks import FAINT_INK
from hvit_cli.heatmaps.layout import FigureText, Layout
from hvit_cli.heatmaps.lettering import line_px, typeface
from hvit_cli.heatmaps.render import RgbImage

_WATERMARK_DEGREES = 18
_INK_ALPHA = 80
_HALO_ALPHA = 90


def watermarked(picture: RgbImage, text: str, em_px: int) -> RgbImage:
    """Stamps a sentence all over the picture in faint grey, one clause below the other.

    The stamps are small, so that a long thin panel holds a whole one, and they turn
    neither glass nor tissue into another colour.
    """
    height, width = picture.shape[:2]
    # A light halo keeps dark letters legible on dark, restless tissue.
    halo = _stamp(text, em_px, _HALO_ALPHA, max(1, em_px // 8))
    ink = _stamp(text, em_px, _INK_ALPHA, 0)
    image = Image.fromarray(picture)
    columns = max(1, width // (ink.width + 12 * em_px))
    rows = max(1, height // (ink.height + 10 * em_px))
    for row in range(rows):
        y = round((row + 0.5) * height / rows - ink.height / 2)
        for column in range(columns):
            x = round((column + 0.5) * width / columns - ink.width / 2)
            image.paste((255, 255, 255), (x, y, x + ink.width, y + ink.height), halo)
            image.paste((0, 0, 0), (x, y, x + ink.width, y + ink.height), ink)
    return np.asarray(image)


def _stamp(text: str, em_px: int, alpha: int, stroke_px: int) -> Image.Image:
    font = typeface(round(em_px * 1.1), True)
    clauses = [clause.strip() for clause in text.split(",")]
    wide = max(font.getlength(clause) for clause in clauses)
    flat = Image.new("L", (round(wide) + em_px, line_px(font) * len(clauses)), 0)
    pen = ImageDraw.Draw(flat)
    for i, clause in enumerate(clauses):
        left = (flat.width - font.getlength(clause)) / 2
        at = (left, i * line_px(font))
        pen.text(at, clause, font=font, fill=alpha, stroke_width=stroke_px)
    return flat.rotate(_WATERMARK_DEGREES, resample=Image.Resampling.BILINEAR, expand=True)


def compose(panels: Sequence[RgbImage], words: FigureText, layout: Layout) -> RgbImage:
    """Puts panels and text where the layout says.

    Args:
        panels: (h, w, 3) uint8 pictures, all of the layout's panel size.
        words: The text around them, one title for each panel.
        layout: From `choose_layout`.

    Returns:
        (height, width, 3) uint8.
    """
    image = Image.new("RGB", layout.size_px, (255, 255, 255))
    margin, width = layout.margin_px, layout.text_width_px
    panel_w, panel_h = layout.panel_px
    grid_w = layout.columns * layout.slot_px + (layout.columns - 1) * margin
    if layout.text == "below":
        words.header.draw(image, margin, margin, width)
        left = (layout.size_px[0] - grid_w) // 2
        top = 2 * margin + words.header.height_px(width)
    else:
        left = top = margin
    title_h = max(title.height_px(layout.slot_px) for title in words.titles)
    pen = ImageDraw.Draw(image)
    for i, (panel, title) in enumerate(zip(panels, words.titles, strict=True)):
        row, column = divmod(i, layout.columns)
        x = left + column * (layout.slot_px + margin)
        y = top + row * (title_h + panel_h + margin)
        title_top = y + title_h - title.height_px(layout.slot_px)
        title.draw(image, x, title_top, layout.slot_px)
        image.paste(Image.fromarray(panel), (x, y + title_h))
        # The frame lies outside the panel, so that the panel's own pixels stay as they are.
        pen.rectangle(
            (x - 1, y + title_h - 1, x + panel_w, y + title_h + panel_h), outline=FAINT_INK
        )
    rows = layout.rows(len(panels))
    bottom = top + rows * (title_h + panel_h) + (rows - 1) * margin
    if layout.text == "below":
        words.footer.draw(image, margin, bottom + margin, width)
    else:
        x = left + grid_w + margin
        words.header.draw(image, x, margin, width)
        words.footer.draw(image, x, 2 * margin + words.header.height_px(width), width)
    return np.asarray(image)
