"""One call from maps, mask and slide picture to the finished figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hvit_cli.errors import UsageError
from hvit_cli.heatmaps.blocks import (
    Abreast,
    Block,
    ColourBar,
    Flow,
    Key,
    Paragraph,
    ScaleBar,
)
from hvit_cli.heatmaps.captions import NOT_FOR_DIAGNOSIS, caption, colour_label
from hvit_cli.heatmaps.emphasis import emphasis_in_words
from hvit_cli.heatmaps.figure import Figure, SlidePixels, Watermark
from hvit_cli.heatmaps.layout import FigureText, Layout, choose_layout, em_px
from hvit_cli.heatmaps.maps import PatchMap
from hvit_cli.heatmaps.panel import Panel, PanelPainter, Scene
from hvit_cli.heatmaps.render import (
    colour_range,
    colour_table,
    dropped_tissue,
    mask_in_frame,
    region_boxes_px,
)
from hvit_cli.heatmaps.stitch import PictureFrame
from hvit_cli.settings import HeatmapSettings


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a figure says about its slide and its model.

    Attributes:
        slide_id: The slide.
        size_level0: (width, height) of the slide in level-0 pixels.
        spacing_um_level0: Micrometres per level-0 pixel.
        verdict: Grade and score in words; "" where each panel's title has its own.
        model: The model in words.
        heads: Attention heads of its region Transformer.
        dropped_mm2: Tissue area outside the regions, where it is known.
        watermark: Written across every panel, or "".
        notes: Further sentences for the reader.
    """

    slide_id: str
    size_level0: tuple[int, int]
    spacing_um_level0: float
    verdict: str
    model: str
    heads: int
    dropped_mm2: float | None = None
    watermark: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Window:
    """A rectangle of the slide, in level-0 pixels, shown instead of all of it.

    Attributes:
        origin_level0: Its top-left corner (x, y).
        size_level0: Its (width, height).
    """

    origin_level0: tuple[float, float]
    size_level0: tuple[float, float]


def draw_figure(
    panels: Sequence[Panel],
    facts: Facts,
    mask: npt.NDArray[np.uint8],
    pixels: SlidePixels,
    settings: HeatmapSettings,
    window: Window | None = None,
    columns: int | None = None,
) -> Figure:
    """Lays out maps over the slide with everything that is needed to read them.

    Nothing is painted yet: the figure paints itself a few rows at a time, when it is written.

    Args:
        panels: At least one of them with a map.
        facts: What to write.
        mask: (h, w) tissue mask of the whole slide, 1 tissue.
        pixels: Gives the slide's own pixels in a frame, strip by strip.
        settings: Colours, range, size.
        window: What to show of the slide; nothing shows all of it.
        columns: Panels beside each other; nothing makes the panels as large as may be.

    Returns:
        A figure whose longer side is `settings.max_px` unless the slide is smaller.

    Raises:
        UsageError: The text alone does not fit in a picture of that size, or the range of
            colours does not suit the maps.
    """
    window = window or Window(origin_level0=(0.0, 0.0), size_level0=facts.size_level0)
    maps = [panel.patch_map for panel in panels if panel.patch_map is not None]
    em = em_px(settings.max_px)
    drop = bool(_dropped(mask, maps[0], facts, window).any())
    draft = _words(panels, maps, facts, settings, drop, facts.spacing_um_level0, em)
    around = (round(window.size_level0[0]), round(window.size_level0[1]))
    layout = choose_layout(around, draft, settings.max_px, columns)
    if layout is None:
        raise UsageError(
            "the picture is too small for its text",
            where="--size",
            found=settings.max_px,
            hint=f"--size {2 * settings.max_px}",
        )
    frame = PictureFrame(
        size_px=layout.panel_px,
        size_level0=window.size_level0,
        origin_level0=window.origin_level0,
    )
    scene = Scene(
        maps=maps,
        mask=mask,
        slide_level0=facts.size_level0,
        frame=frame,
        settings=settings,
        em_px=em,
        watermark=Watermark(facts.watermark, em) if facts.watermark else None,
    )
    um_per_px = facts.spacing_um_level0 * frame.level0_per_px[0]
    return Figure(
        panels=[PanelPainter(panel, scene) for panel in panels],
        words=_words(panels, maps, facts, settings, drop, um_per_px, em, layout),
        layout=layout,
        frame=frame,
        pixels=pixels,
    )


def _dropped(
    mask: npt.NDArray[np.uint8], some: PatchMap, facts: Facts, window: Window
) -> npt.NDArray[np.bool_]:
    """Tissue outside the regions in what is shown, at about the mask's own resolution."""
    share = [window.size_level0[axis] / facts.size_level0[axis] for axis in (0, 1)]
    size = (max(1, round(mask.shape[1] * share[0])), max(1, round(mask.shape[0] * share[1])))
    frame = PictureFrame(
        size_px=size, size_level0=window.size_level0, origin_level0=window.origin_level0
    )
    tissue = mask_in_frame(mask, frame, facts.size_level0)
    return dropped_tissue(tissue, region_boxes_px(some, frame))


def _area(mm2: float) -> str:
    return f"{mm2:.2f} mm²" if mm2 >= 0.01 else "below 0.01 mm²"


def _words(
    panels: Sequence[Panel],
    maps: Sequence[PatchMap],
    facts: Facts,
    settings: HeatmapSettings,
    drop: bool,
    um_per_px: float,
    em: int,
    layout: Layout | None = None,
) -> FigureText:
    limits = colour_range(settings.shown_scale, maps, settings.colour_range, settings.percentile)
    bar = ColourBar(
        label=colour_label(settings, facts.heads),
        table=colour_table(settings.shown_colour_map),
        limits=limits,
        clipped=(
            any((m.value[m.visible] < limits[0]).any() for m in maps),
            any((m.value[m.visible] > limits[1]).any() for m in maps),
        ),
        opacity=settings.opacity,
        em_px=em,
    )
    panel_w = layout.panel_px[0] if layout else 10 * em
    scale = ScaleBar(um_per_px=um_per_px, longest_px=min(9 * em, max(1, panel_w // 2)), em_px=em)
    coloured = settings.highlight is None and any(panel.shows == "map" for panel in panels)
    bars: list[tuple[Block, int]] = [(bar, 36 * em)] if coloured else []
    footer: list[Block] = [Abreast(blocks=[*bars, (scale, 10 * em)], gap_px=2 * em)]
    if drop:
        text = "tissue outside the regions, not looked at"
        if facts.dropped_mm2 is not None:
            text += f" ({_area(facts.dropped_mm2)})"
        footer.append(Key(kind="hatched", text=text, em_px=em))
    shown = {panel.shows for panel in panels}
    if "mask" in shown:
        footer.append(Key(kind="tissue", text="tissue mask; boxes are the regions", em_px=em))
    elif "regions" in shown or ("map" in shown and settings.outline):
        footer.append(Key(kind="region", text="region", em_px=em))
    if "map" in shown and settings.contour:
        footer.append(Key(kind="line", text="outline of the tissue mask", em_px=em))
    sentences = [*facts.notes]
    if "map" in shown:
        sentences += [
            emphasis_in_words(maps, settings),
            caption(maps, settings, facts.spacing_um_level0),
        ]
    else:
        sentences.append(NOT_FOR_DIAGNOSIS)
    said = " ".join(sentence for sentence in sentences if sentence)
    footer.append(Paragraph(text=said, em_px=em, faint=True))
    header = [
        Paragraph(text=facts.slide_id, em_px=round(em * 1.35), bold=True),
        Paragraph(text=facts.verdict, em_px=round(em * 1.15)),
        Paragraph(text=facts.model, em_px=em, faint=True),
    ]
    return FigureText(
        header=Flow(blocks=[part for part in header if part.text], gap_px=em // 4),
        footer=Flow(blocks=footer, gap_px=em // 2),
        titles=tuple(Paragraph(text=panel.title, em_px=em, bold=True) for panel in panels),
    )
