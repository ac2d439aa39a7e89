"""Where panels and text go, chosen so that the panels are as large as the picture allows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hvit_cli.heatmaps.blocks import Flow, Paragraph

TextPlace = Literal["below", "beside"]

# Text beside the panels must win this much before it is preferred to text below them.
_BESIDE_MUST_WIN = 1.15
_SIDE_EM = 24
_LEAST_WIDTH_EM = 30
# A panel narrower than its title still gets this much room for it.
_SLOT_EM = 9


def em_px(max_px: int) -> int:
    """Height of the letters in a picture of this size."""
    return max(11, round(max_px / 85))


@dataclass(frozen=True, kw_only=True)
class FigureText:
    """What is written around the panels.

    Attributes:
        header: Slide, grade, model.
        footer: Colour bar, scale bar, keys, caption.
        titles: One above each panel.
    """

    header: Flow
    footer: Flow
    titles: tuple[Paragraph, ...]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The sizes of everything in a figure, in pixels.

    Attributes:
        size_px: (width, height) of the figure.
        panel_px: (width, height) of each panel.
        slot_px: Width that a panel and its title share.
        columns: Panels beside each other.
        text: Whether header and footer lie above and below, or together at the right.
        text_width_px: Width of the text.
        margin_px: Space at the border and between panels.
    """

    size_px: tuple[int, int]
    panel_px: tuple[int, int]
    slot_px: int
    columns: int
    text: TextPlace
    text_width_px: int
    margin_px: int

    def rows(self, panels: int) -> int:
        """Rows of panels."""
        return -(-panels // self.columns)


def arrange(
    panel_px: tuple[int, int],
    words: FigureText,
    columns: int,
    place: TextPlace,
    em: int,
    widest_px: int,
) -> Layout:
    """The figure that panels of a given size make.

    Args:
        panel_px: (width, height) of a panel.
        words: The text around them.
        columns: Panels beside each other.
        place: Where the text goes.
        em: Height of the letters.
        widest_px: Text may widen the figure up to here.
    """
    panels = len(words.titles)
    rows = -(-panels // columns)
    margin = em
    slot = max(panel_px[0], _SLOT_EM * em)
    grid_w = columns * slot + (columns - 1) * margin
    title = max(t.height_px(slot) for t in words.titles)
    grid_h = rows * (title + panel_px[1]) + (rows - 1) * margin
    if place == "below":
        text_w = max(grid_w, min(_LEAST_WIDTH_EM * em, widest_px - 2 * margin))
        size = (
            text_w + 2 * margin,
            words.header.height_px(text_w) + grid_h + words.footer.height_px(text_w) + 4 * margin,
        )
    else:
        text_w = _SIDE_EM * em
        text_h = words.header.height_px(text_w) + words.footer.height_px(text_w) + margin
        size = (grid_w + text_w + 3 * margin, max(grid_h, text_h) + 2 * margin)
    return Layout(
        size_px=size,
        panel_px=panel_px,
        slot_px=slot,
        columns=columns,
        text=place,
        text_width_px=text_w,
        margin_px=margin,
    )


def _largest(
    aspect: tuple[int, int], words: FigureText, columns: int, place: TextPlace, max_px: int
) -> Layout | None:
    em, longer = em_px(max_px), max(aspect)
    best, low, high = None, 1, min(max_px, longer)
    while low <= high:
        side = (low + high) // 2
        panel = (max(1, round(aspect[0] * side / longer)), max(1, round(aspect[1] * side / longer)))
        tried = arrange(panel, words, columns, place, em, max_px)
        if max(tried.size_px) <= max_px:
            best, low = tried, side + 1
        else:
            high = side - 1
    return best


def choose_layout(
    size_level0: tuple[int, int], words: FigureText, max_px: int, columns: int | None = None
) -> Layout | None:
    """The layout with the largest panels whose longer side is at most `max_px`.

    Args:
        size_level0: (width, height) of the slide; panels are never larger than that.
        words: The text around the panels.
        max_px: Longer side of the figure.
        columns: Panels beside each other; nothing chooses.

    Returns:
        The layout, or nothing where the text alone is larger than the picture.
    """
    panels = len(words.titles)
    best: Layout | None = None
    places: tuple[TextPlace, ...] = ("below", "beside")
    for place in places:
        for tried in [columns] if columns else sorted({panels, 1, -(-panels // 2)}, reverse=True):
            found = _largest(size_level0, words, tried, place, max_px)
            if found is None:
                continue
            needed = 1.0
            if best is not None:
                needed = best.panel_px[0] * (_BESIDE_MUST_WIN if place != best.text else 1)
            if best is None or found.panel_px[0] > needed:
                best = found
    return best
