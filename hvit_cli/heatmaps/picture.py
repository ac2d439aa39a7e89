"""One call from maps, mask and slide picture to the finished figure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from hvit_cli.errors import UsageError
from hvit_cli.heatmaps.blocks import (
    Abreast,
    Block,
    ColourBar,
    Flow,
    Key,
    Paragraph,
    ScaleBar,
    hatch_step_px,
)
from hvit_cli.heatmaps.captions import caption, colour_label
from hvit_cli.heatmaps.figure import compose, watermarked
from hvit_cli.heatmaps.layout import FigureText, Layout, choose_layout, em_px
from hvit_cli.heatmaps.maps import PatchMap
from hvit_cli.heatmaps.render import (
    RgbImage,
    colour_range,
    colour_table,
    dropped_tissue,
    hatch,
    mask_in_frame,
    mask_picture,
    outline,
    paint,
    region_boxes_px,
)
from hvit_cli.heatmaps.stitch import PictureFrame, stitch
from hvit_cli.settings import HeatmapSettings


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One panel of a figure.

    Attributes:
        title: What stands above it.
        patch_map: Its map, on the figure's scale; nothing shows the tissue mask.
    """

    title: str
    patch_map: PatchMap | None = None


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


def draw_figure(
    panels: Sequence[Panel],
    facts: Facts,
    mask: npt.NDArray[np.uint8],
    thumbnail: Callable[[int], RgbImage],
    settings: HeatmapSettings,
) -> RgbImage:
    """Draws maps over the slide with everything that is needed to read them.

    Args:
        panels: At least one of them with a map.
        facts: What to write.
        mask: (h, w) tissue mask of the whole slide, 1 tissue.
        thumbnail: Gives the slide with its longer side about this many pixels.
        settings: Colours, range, size.

    Returns:
        (height, width, 3) uint8, the longer side `settings.max_px` unless the slide is smaller.

    Raises:
        UsageError: The text alone does not fit in a picture of that size.
    """
    maps = [panel.patch_map for panel in panels if panel.patch_map is not None]
    em = em_px(settings.max_px)
    drop = bool(_dropped(mask, maps[0], facts).any())
    draft = _words(panels, maps, facts, settings, drop, facts.spacing_um_level0, em)
    layout = choose_layout(facts.size_level0, draft, settings.max_px)
    if layout is None:
        raise UsageError(
            "the picture is too small for its text",
            where="--size",
            found=settings.max_px,
            hint=f"--size {2 * settings.max_px}",
        )
    frame = PictureFrame(size_px=layout.panel_px, size_level0=facts.size_level0)
    slide = _resized(thumbnail(max(layout.panel_px)), layout.panel_px)
    drawn = [
        _draw_panel(panel, maps, slide, mask_in_frame(mask, frame), frame, settings, em)
        for panel in panels
    ]
    if facts.watermark:
        drawn = [watermarked(picture, facts.watermark, em) for picture in drawn]
    um_per_px = facts.spacing_um_level0 * frame.level0_per_px[0]
    words = _words(panels, maps, facts, settings, drop, um_per_px, em, layout)
    return compose(drawn, words, layout)


def _dropped(mask: npt.NDArray[np.uint8], some: PatchMap, facts: Facts) -> npt.NDArray[np.bool_]:
    frame = PictureFrame(size_px=mask.shape[::-1], size_level0=facts.size_level0)
    return dropped_tissue(mask > 0, region_boxes_px(some, frame))


def _resized(picture: RgbImage, size_px: tuple[int, int]) -> RgbImage:
    if picture.shape[1::-1] == size_px:
        return picture
    image = Image.fromarray(picture)
    return np.asarray(image.resize(size_px, Image.Resampling.LANCZOS, reducing_gap=3.0))


def _draw_panel(
    panel: Panel,
    maps: Sequence[PatchMap],
    slide: RgbImage,
    tissue: npt.NDArray[np.bool_],
    frame: PictureFrame,
    settings: HeatmapSettings,
    em: int,
) -> RgbImage:
    boxes = region_boxes_px(panel.patch_map or maps[0], frame)
    line = max(1, em // 24)
    if panel.patch_map is None:
        picture = outline(mask_picture(tissue), boxes, line)
    else:
        shown = ~panel.patch_map.background if settings.tissue_only else None
        values = stitch(panel.patch_map, frame, shown=shown, smooth=settings.smooth)
        limits = colour_range(settings.shown_scale, maps, settings.colour_range)
        table = colour_table(settings.colour_map)
        picture = paint(slide, values, table, limits, settings.opacity)
        if settings.outline:
            picture = outline(picture, boxes, line)
    return hatch(picture, dropped_tissue(tissue, boxes), hatch_step_px(em))


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
    limits = colour_range(settings.shown_scale, maps, settings.colour_range)
    bar = ColourBar(
        label=colour_label(settings, facts.heads),
        table=colour_table(settings.colour_map),
        limits=limits,
        clipped=any((m.value[m.visible] > limits[1]).any() for m in maps),
        opacity=settings.opacity,
        em_px=em,
    )
    panel_w = layout.panel_px[0] if layout else 10 * em
    scale = ScaleBar(um_per_px=um_per_px, longest_px=min(9 * em, max(1, panel_w // 2)), em_px=em)
    footer: list[Block] = [Abreast(blocks=[(bar, 36 * em), (scale, 10 * em)], gap_px=2 * em)]
    if drop:
        text = "tissue outside the regions, not looked at"
        if facts.dropped_mm2 is not None:
            text += f" ({_area(facts.dropped_mm2)})"
        footer.append(Key(kind="hatched", text=text, em_px=em))
    if any(panel.patch_map is None for panel in panels):
        footer.append(Key(kind="tissue", text="tissue mask; boxes are the regions", em_px=em))
    said = " ".join((*facts.notes, caption(maps, settings, facts.spacing_um_level0)))
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
