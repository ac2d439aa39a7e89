"""Text in pictures: one typeface, measured and wrapped before it is drawn."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from PIL import ImageFont


@lru_cache(maxsize=32)
def typeface(size_px: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans as matplotlib ships it, which has µ and × on every machine."""
    import matplotlib

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(
        str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), size_px
    )


def line_px(font: ImageFont.FreeTypeFont) -> int:
    """Height of a line of text with its leading."""
    return round(font.size * 1.35)


def wrap(text: str, font: ImageFont.FreeTypeFont, width_px: int) -> list[str]:
    """Breaks text into lines that fit; a word that is too long alone is cut."""
    return list(_wrapped(text, font, width_px))


# The search for a layout asks for the same texts at the same widths again and again.
@lru_cache(maxsize=1024)
def _wrapped(text: str, font: ImageFont.FreeTypeFont, width_px: int) -> tuple[str, ...]:
    lines: list[str] = []
    line = ""
    for word in text.split():
        tried = f"{line} {word}" if line else word
        if font.getlength(tried) <= width_px:
            line = tried
            continue
        if line:
            lines.append(line)
        line = word
        while font.getlength(line) > width_px and len(line) > 1:
            cut = _fitting(line, font, width_px)
            lines.append(line[:cut])
            line = line[cut:]
    return (*lines, line) if line else tuple(lines)


def _fitting(word: str, font: ImageFont.FreeTypeFont, width_px: int) -> int:
    cut = len(word) - 1
    while cut > 1 and font.getlength(word[:cut]) > width_px:
        cut -= 1
    return cut
