"""What stands around the panels of a figure: paragraphs, colour bar, scale bar, keys.

A block knows its height at any width before it is drawn, so that a layout can be chosen
first and nothing ever overlaps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from hvit_cli.heatmaps.lettering import line_px, typeface, wrap
from hvit_cli.heatmaps.render import RgbImage, hatch

INK = (25, 25, 25)
FAINT_INK = (85, 85, 85)


class Block(Protocol):
    """Something that fills the width it is given and says how high it will be."""

    def height_px(self, width_px: int) -> int:
        """Height at this width."""
        ...

    def draw(self, image: Image.Image, left: int, top: int, width_px: int) -> None:
        """Draws the block with its top-left corner at (left, top)."""
        ...


@dataclass(frozen=True, kw_only=True)
class Paragraph:
    """Text, wrapped.

    Attributes:
        text: What it says.
        em_px: Height of the letters.
        bold: Heavier letters.
        faint: Grey instead of black.
    """

    text: str
    em_px: int
    bold: bool = False
    faint: bool = False

    def height_px(self, width_px: int) -> int:
        """Height at this width."""
        font = typeface(self.em_px, self.bold)
        return len(wrap(self.text, font, width_px)) * line_px(font)

    def draw(self, image: Image.Image, left: int, top: int, width_px: int) -> None:
        """Draws the text."""
        font = typeface(self.em_px, self.bold)
        pen = ImageDraw.Draw(image)
        for line in wrap(self.text, font, width_px):
            pen.text((left, top), line, font=font, fill=FAINT_INK if self.faint else INK)
            top += line_px(font)


@dataclass(frozen=True, kw_only=True)
class ColourBar:
    """The colours as they look over white and over the slide's mean tone, with their values.

    Attributes:
        label: What the values are.
        table: (256, 3) uint8 colours, lowest value first.
        limits: Values at both ends.
        clipped: Whether values lie below the lower end, which then reads "≤", and above the
            upper one ("≥").
        opacity: Opacity of the colours in the panels.
        em_px: Height of the letters.
    """

    label: str
    table: RgbImage
    limits: tuple[float, float]
    clipped: tuple[bool, bool]
    opacity: float
    em_px: int

    def _bar_px(self, width_px: int) -> int:
        return min(width_px, 26 * self.em_px)

    def height_px(self, width_px: int) -> int:
        """Height at this width."""
        label = Paragraph(text=self.label, em_px=self.em_px)
        return label.height_px(width_px) + round(self.em_px * 2.9)

    def draw(self, image: Image.Image, left: int, top: int, width_px: int) -> None:
        """Draws label, bar and ticks."""
        label = Paragraph(text=self.label, em_px=self.em_px)
        label.draw(image, left, top, width_px)
        top += label.height_px(width_px) + self.em_px // 4
        bar_px, thick = self._bar_px(width_px), self.em_px
        index = (np.arange(bar_px) * (len(self.table) / bar_px)).astype(np.intp)
        over = self.table[index].astype(np.float64)
        strip = np.rint(255 + self.opacity * (over - 255)).astype(np.uint8)
        bar = Image.fromarray(np.repeat(strip[None], thick, axis=0))
        image.paste(bar, (left, top))
        pen = ImageDraw.Draw(image)
        pen.rectangle((left, top, left + bar_px - 1, top + thick - 1), outline=FAINT_INK)
        self._draw_ticks(pen, left, top + thick, bar_px)

    def _ticks(self, font: ImageFont.FreeTypeFont, bar_px: int) -> list[str]:
        """Evenly spaced values in words, as many as stand apart; both ends in any case."""
        low, high = self.limits
        texts: list[str] = []
        for count in (4 if (high - low) % 3 == 0 else 5, 3, 2):
            texts = [f"{value:.3g}".replace("-", "−") for value in np.linspace(low, high, count)]
            if self.clipped[1]:
                texts[-1] = f"≥ {texts[-1]}"
            if self.clipped[0]:
                texts[0] = f"≤ {texts[0]}"
            left = self._left_px(font, texts, bar_px)
            right = [x + font.getlength(text) for x, text in zip(left, texts, strict=True)]
            if all(b - a >= self.em_px / 2 for a, b in zip(right[:-1], left[1:], strict=True)):
                break
        return texts

    def _left_px(
        self, font: ImageFont.FreeTypeFont, texts: Sequence[str], bar_px: int
    ) -> list[float]:
        """Where each text begins: centred on its value, but within the bar."""
        places = []
        for share, text in zip(np.linspace(0, 1, len(texts)), texts, strict=True):
            wide = font.getlength(text)
            centred = round(share * (bar_px - 1)) - wide / 2
            places.append(float(min(max(centred, 0), bar_px - wide)))
        return places

    def _draw_ticks(self, pen: ImageDraw.ImageDraw, left: int, top: int, bar_px: int) -> None:
        font = typeface(self.em_px)
        texts = self._ticks(font, bar_px)
        starts = self._left_px(font, texts, bar_px)
        shares = np.linspace(0, 1, len(texts))
        for share, text, start in zip(shares, texts, starts, strict=True):
            x = left + round(share * (bar_px - 1))
            pen.line((x, top, x, top + self.em_px // 4), fill=FAINT_INK)
            pen.text((left + start, top + self.em_px // 4), text, font=font, fill=INK)


def nice_length_um(longest_um: float) -> float:
    """The largest of 1, 2 or 5 × 10ⁿ µm that is not longer than `longest_um`."""
    power = 10.0 ** np.floor(np.log10(longest_um))
    return float(max(step * power for step in (1, 2, 5) if step * power <= longest_um))


@dataclass(frozen=True, kw_only=True)
class ScaleBar:
    """A bar of a round length at the panels' own scale.

    Attributes:
        um_per_px: Micrometres per pixel of the panels.
        longest_px: The bar is at most this long.
        em_px: Height of the letters.
    """

    um_per_px: float
    longest_px: int
    em_px: int

    @property
    def length_um(self) -> float:
        """Length of the bar in micrometres."""
        return nice_length_um(self.longest_px * self.um_per_px)

    @property
    def length_px(self) -> int:
        """Length of the bar in pixels."""
        return max(1, round(self.length_um / self.um_per_px))

    @property
    def text(self) -> str:
        """The length in words."""
        length = self.length_um
        return f"{length / 1000:g} mm" if length >= 1000 else f"{length:g} µm"

    def height_px(self, width_px: int) -> int:  # noqa: ARG002 - same at any width
        """Height at this width."""
        return round(self.em_px * 2.2)

    def draw(self, image: Image.Image, left: int, top: int, width_px: int) -> None:  # noqa: ARG002 - a bar keeps its length
        """Draws the bar with its length above."""
        pen = ImageDraw.Draw(image)
        font = typeface(self.em_px)
        pen.text((left, top), self.text, font=font, fill=INK)
        top += line_px(font) + self.em_px // 4
        thick = max(2, self.em_px // 4)
        pen.rectangle((left, top, left + self.length_px - 1, top + thick - 1), fill=INK)


@dataclass(frozen=True, kw_only=True)
class Key:
    """A swatch and what it means.

    Attributes:
        kind: What the swatch shows.
        text: What it means.
        em_px: Height of the letters.
    """

    kind: Literal["hatched", "tissue", "region", "line"]
    text: str
    em_px: int

    @property
    def _indent_px(self) -> int:
        return round(self.em_px * 2.4)

    def _words(self) -> Paragraph:
        return Paragraph(text=self.text, em_px=self.em_px)

    def height_px(self, width_px: int) -> int:
        """Height at this width."""
        return self._words().height_px(max(1, width_px - self._indent_px))

    def draw(self, image: Image.Image, left: int, top: int, width_px: int) -> None:
        """Draws swatch and text."""
        wide, high = round(self.em_px * 1.8), self.em_px
        grey = 150 if self.kind in ("hatched", "tissue") else 255
        swatch = np.full((high, wide, 3), grey, np.uint8)
        if self.kind == "line":
            swatch[high // 2 : high // 2 + max(1, high // 10)] = 20
        if self.kind == "hatched":
            swatch = hatch(swatch, np.ones((high, wide), bool), hatch_step_px(self.em_px))
        y = top + round(self.em_px * 0.15)
        image.paste(Image.fromarray(swatch), (left, y))
        pen = ImageDraw.Draw(image)
        pen.rectangle((left, y, left + wide - 1, y + high - 1), outline=FAINT_INK)
        self._words().draw(image, left + self._indent_px, top, width_px - self._indent_px)


def hatch_step_px(em_px: int) -> int:
    """Distance between hatching lines for letters of this height."""
    return max(6, em_px // 2)


@dataclass(frozen=True, kw_only=True)
class Flow:
    """Blocks one below the other, with a gap between them.

    Attributes:
        blocks: The blocks, topmost first.
        gap_px: Space between two of them.
    """

    blocks: Sequence[Block]
    gap_px: int

    def height_px(self, width_px: int) -> int:
        """Height at this width."""
        heights = [block.height_px(width_px) for block in self.blocks]
        return sum(heights) + self.gap_px * max(0, len(heights) - 1)

    def draw(self, image: Image.Image, left: int, top: int, width_px: int) -> None:
        """Draws every block."""
        for block in self.blocks:
            block.draw(image, left, top, width_px)
            top += block.height_px(width_px) + self.gap_px


@dataclass(frozen=True, kw_only=True)
class Abreast:
    """Blocks beside each other where they fit, one below the other where they do not.

    Attributes:
        blocks: Each block with the width it needs.
        gap_px: Space between two of them.
    """

    blocks: Sequence[tuple[Block, int]]
    gap_px: int

    def _fits(self, width_px: int) -> bool:
        wanted = sum(wide for _, wide in self.blocks) + self.gap_px * (len(self.blocks) - 1)
        return wanted <= width_px

    def _stacked(self) -> Flow:
        return Flow(blocks=[block for block, _ in self.blocks], gap_px=self.gap_px // 2)

    def height_px(self, width_px: int) -> int:
        """Height at this width."""
        if not self._fits(width_px):
            return self._stacked().height_px(width_px)
        return max(block.height_px(wide) for block, wide in self.blocks)

    def draw(self, image: Image.Image, left: int, top: int, width_px: int) -> None:
        """Draws every block."""
        if not self._fits(width_px):
            self._stacked().draw(image, left, top, width_px)
            return
        for block, wide in self.blocks:
            block.draw(image, left, top, wide)
            left += wide + self.gap_px
