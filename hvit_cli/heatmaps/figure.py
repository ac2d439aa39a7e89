"""The finished figure: panels with titles, and around them what is needed to read them.

A figure is made from top to bottom, a few rows at a time, so that its size is limited by the
disk and not by memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from PIL import Image, ImageDraw

from hvit_cli.heatmaps.blocks import FAINT_INK
from hvit_cli.heatmaps.layout import FigureText, Layout
from hvit_cli.heatmaps.lettering import line_px, typeface
from hvit_cli.heatmaps.render import RgbImage
from hvit_cli.heatmaps.stitch import PictureFrame

SlidePixels = Callable[[PictureFrame], Iterator[RgbImage]]
"""Gives the slide's own picture in a frame, as (rows, width, 3) strips from top to bottom."""

_WATERMARK_DEGREES = 18
_INK_ALPHA = 80
_HALO_ALPHA = 90
# Pixels of a strip: about 90 bytes each are in use while it is painted.
_STRIP_PX = 1_000_000
_LEAST_ROWS = 16


class Watermark:
    """A sentence stamped all over a picture in faint grey, one clause below the other.

    The stamps are small, so that a long thin panel holds a whole one, and they turn
    neither glass nor tissue into another colour.

    Args:
        text: The sentence; its clauses are parted by commas.
        em_px: Height of the letters.
    """

    def __init__(self, text: str, em_px: int) -> None:
        self._em_px = em_px
        # A light halo keeps dark letters legible on dark, restless tissue.
        self._halo = _stamp(text, em_px, _HALO_ALPHA, max(1, em_px // 8))
        self._ink = _stamp(text, em_px, _INK_ALPHA, 0)

    def onto(self, rows: RgbImage, top_px: int, height_px: int) -> RgbImage:
        """Stamps some rows of a picture.

        Args:
            rows: (h, w, 3) rows of the picture.
            top_px: Row of the picture at which they begin.
            height_px: Rows of the whole picture.
        """
        width, ink = rows.shape[1], self._ink
        image = Image.fromarray(rows)
        columns = max(1, width // (ink.width + 12 * self._em_px))
        lines = max(1, height_px // (ink.height + 10 * self._em_px))
        for line in range(lines):
            y = round((line + 0.5) * height_px / lines - ink.height / 2) - top_px
            if y >= len(rows) or y + ink.height <= 0:
                continue
            for column in range(columns):
                x = round((column + 0.5) * width / columns - ink.width / 2)
                box = (x, y, x + ink.width, y + ink.height)
                image.paste((255, 255, 255), box, self._halo)
                image.paste((0, 0, 0), box, ink)
        return np.asarray(image)


def watermarked(picture: RgbImage, text: str, em_px: int) -> RgbImage:
    """A whole picture with its watermark."""
    return Watermark(text, em_px).onto(picture, 0, len(picture))


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


class PanelRows(Protocol):
    """What paints a panel some rows at a time."""

    def band(self, slide: RgbImage, top_px: int) -> RgbImage:
        """The panel's rows from `top_px` on, over these rows of the slide."""
        ...


class _Feed:
    """Hands out a picture that arrives in strips, in pieces of any height."""

    def __init__(self, strips: Iterator[RgbImage]) -> None:
        self._strips = strips
        self._waiting: list[RgbImage] = []

    def take(self, rows: int) -> RgbImage:
        while sum(map(len, self._waiting)) < rows:
            self._waiting.append(next(self._strips))
        joined = np.concatenate(self._waiting)
        self._waiting = [joined[rows:]]
        return joined[:rows]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """Panels and text where a layout says.

    Attributes:
        panels: What paints the panels, each of the layout's panel size.
        words: The text around them, one title for each panel.
        layout: From `choose_layout`.
        frame: The part of the slide that the panels show.
        pixels: Gives the slide's own pixels.
    """

    panels: Sequence[PanelRows]
    words: FigureText
    layout: Layout
    frame: PictureFrame
    pixels: SlidePixels

    @property
    def size_px(self) -> tuple[int, int]:
        """(width, height)."""
        return self.layout.size_px

    def picture(self) -> RgbImage:
        """The whole figure, (height, width, 3)."""
        return np.concatenate(list(self.strips()))

    def strips(self, rows: int | None = None) -> Iterator[RgbImage]:
        """The figure from top to bottom, `rows` at a time."""
        width, height = self.size_px
        step = max(_LEAST_ROWS, _STRIP_PX // width) if rows is None else rows
        feeds: dict[int, _Feed] = {}
        for top in range(0, height, step):
            image = Image.new("RGB", (width, min(step, height - top)), (255, 255, 255))
            self._write(image, top)
            self._paint(image, top, feeds)
            yield np.asarray(image)

    @property
    def _title_px(self) -> int:
        return max(title.height_px(self.layout.slot_px) for title in self.words.titles)

    @property
    def _grid_px(self) -> tuple[int, int]:
        """Top-left corner (x, y) of the grid of panels."""
        layout, margin = self.layout, self.layout.margin_px
        if layout.text == "beside":
            return margin, margin
        left = (layout.size_px[0] - self._grid_width_px) // 2
        return left, 2 * margin + self.words.header.height_px(layout.text_width_px)

    @property
    def _grid_width_px(self) -> int:
        layout = self.layout
        return layout.columns * layout.slot_px + (layout.columns - 1) * layout.margin_px

    def _corner_px(self, i: int) -> tuple[int, int]:
        """Top-left corner (x, y) of panel `i`, its title above."""
        row, column = divmod(i, self.layout.columns)
        left, top = self._grid_px
        margin, high = self.layout.margin_px, self._title_px + self.layout.panel_px[1]
        return (
            left + column * (self.layout.slot_px + margin),
            top + row * (high + margin) + self._title_px,
        )

    def _write(self, image: Image.Image, top: int) -> None:
        """Text and frames, as far as they lie in these rows."""
        layout, margin, width = self.layout, self.layout.margin_px, self.layout.text_width_px
        header, footer = self.words.header, self.words.footer
        left, grid_top = self._grid_px
        rows = layout.rows(len(self.panels))
        high = self._title_px + layout.panel_px[1]
        bottom = grid_top + rows * high + (rows - 1) * margin
        if layout.text == "below":
            places = [(header, margin, margin), (footer, margin, bottom + margin)]
        else:
            x = left + self._grid_width_px + margin
            places = [(header, x, margin), (footer, x, 2 * margin + header.height_px(width))]
        for block, x, y in places:
            if y - top < image.height and y + block.height_px(width) > top:
                block.draw(image, x, y - top, width)
        pen = ImageDraw.Draw(image)
        panel_w, panel_h = layout.panel_px
        for i, title in enumerate(self.words.titles):
            x, y = self._corner_px(i)
            y -= top
            title.draw(image, x, y - title.height_px(layout.slot_px), layout.slot_px)
            # The frame lies outside the panel, so that the panel's own pixels stay as they are.
            pen.rectangle((x - 1, y - 1, x + panel_w, y + panel_h), outline=FAINT_INK)

    def _paint(self, image: Image.Image, top: int, feeds: dict[int, _Feed]) -> None:
        """The panels' rows that lie in these rows of the figure."""
        panel_h, columns = self.layout.panel_px[1], self.layout.columns
        for row in range(self.layout.rows(len(self.panels))):
            y = self._corner_px(row * columns)[1]
            first, end = max(top - y, 0), min(top + image.height - y, panel_h)
            if first >= end:
                continue
            if first == 0:
                feeds[row] = _Feed(self.pixels(self.frame))
            slide = feeds[row].take(end - first)
            for i in range(row * columns, min((row + 1) * columns, len(self.panels))):
                painted = self.panels[i].band(slide, first)
                image.paste(Image.fromarray(painted), (self._corner_px(i)[0], y + first - top))
