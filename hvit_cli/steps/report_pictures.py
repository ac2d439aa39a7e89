"""The pictures of a report: the slide with tissue and regions, its maps, its patches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from hvit_cli.heatmaps.blocks import ScaleBar, hatch_step_px
from hvit_cli.heatmaps.contact import extremes
from hvit_cli.heatmaps.figure import Watermark, watermarked
from hvit_cli.heatmaps.layout import em_px
from hvit_cli.heatmaps.maps import PatchMap
from hvit_cli.heatmaps.panel import Panel, PanelPainter, Scene
from hvit_cli.heatmaps.render import (
    RgbImage,
    colour_range,
    colour_table,
    dropped_tissue,
    hatch,
    mask_in_frame,
    region_boxes_px,
    tissue_border,
)
from hvit_cli.heatmaps.stitch import PictureFrame
from hvit_cli.report.facts import ColourScale, PatchSheet, PatchShown
from hvit_cli.report.pictures import picture_of
from hvit_cli.settings import HeatmapSettings
from hvit_cli.slides.reader import Slide
from hvit_cli.steps.artwork import CloseUp, patch_reader

_TISSUE = (0, 130, 60)
_STOPS = 17
_PATCH_PX = 192


@dataclass(frozen=True, kw_only=True)
class Canvas:
    """What all pictures of one slide are painted over.

    Attributes:
        pixels: (h, w, 3) the slide, reduced.
        mask: (h, w) tissue mask of the whole slide, 1 tissue; None where there is none.
        size_level0: (width, height) of the slide.
        spacing_um_level0: Micrometres per level-0 pixel.
        watermark: Stamped on every picture, or "".
    """

    pixels: RgbImage
    mask: npt.NDArray[np.uint8] | None
    size_level0: tuple[int, int]
    spacing_um_level0: float
    watermark: str

    @property
    def frame(self) -> PictureFrame:
        """The whole slide at the canvas's size."""
        height, width = self.pixels.shape[:2]
        return PictureFrame(size_px=(width, height), size_level0=self.size_level0)

    @property
    def em_px(self) -> int:
        """Height of letters."""
        return em_px(max(self.pixels.shape))


def canvas_of(
    slide: Slide, mask: npt.NDArray[np.uint8] | None, longest_px: int, watermark: str
) -> Canvas:
    """Reads a slide for its pictures.

    Raises:
        PixelError: The slide cannot be decoded.
    """
    return Canvas(
        pixels=slide.thumbnail(longest_px),
        mask=mask,
        size_level0=slide.geometry.size_level0,
        spacing_um_level0=slide.geometry.spacing_um,
        watermark=watermark,
    )


def overview(canvas: Canvas, some: PatchMap | None) -> tuple[RgbImage, list[str]]:
    """The slide with the outline of its tissue, its regions, and what lies in none.

    Args:
        canvas: The slide.
        some: Any map of it, which knows the regions; None where there are none.

    Returns:
        The picture, and which marks it has.
    """
    picture, marks = canvas.pixels, []
    if canvas.mask is not None:
        tissue = mask_in_frame(canvas.mask, canvas.frame, canvas.size_level0)
        dropped = tissue
        if some is not None:
            painter = PanelPainter(
                Panel(title="", patch_map=some, kind="regions"), _scene(canvas, [some])
            )
            picture = painter.band(picture, 0)
            dropped = dropped_tissue(tissue, region_boxes_px(some, canvas.frame))
        else:
            picture = hatch(picture, dropped, hatch_step_px(canvas.em_px))
        border = tissue_border(tissue, max(2, canvas.em_px // 8))
        picture = np.where(border[..., None], np.array(_TISSUE, np.uint8), picture)
        marks += ["tissue"] if tissue.any() else []
        marks += ["region"] if some is not None else []
        marks += ["dropped"] if dropped.any() else []
    return picture, marks


def map_picture(
    canvas: Canvas, one: PatchMap, every: Sequence[PatchMap], settings: HeatmapSettings
) -> RgbImage:
    """One map over the slide, in the colours that it shares with the others.

    Args:
        canvas: The slide; its mask must be there.
        one: The map, on the scale that is shown.
        every: All maps of the slide, this one among them.
        settings: How they are painted.
    """
    painter = PanelPainter(Panel(title="", patch_map=one), _scene(canvas, every, settings))
    return painter.band(canvas.pixels, 0)


def colour_scale(every: Sequence[PatchMap], settings: HeatmapSettings, label: str) -> ColourScale:
    """The colours of these maps in words and numbers, as they look over white."""
    table = colour_table(settings.shown_colour_map).astype(np.float64)
    stops = table[np.linspace(0, len(table) - 1, _STOPS).astype(np.intp)]
    over = np.rint(255 + settings.opacity * (stops - 255)).astype(np.uint8)
    limits = colour_range(settings.shown_scale, every, settings.colour_range, settings.percentile)
    return ColourScale(
        label=label,
        colours=tuple("#" + bytes(colour).hex() for colour in over),
        limits=limits,
        clipped=(
            any((m.value[m.visible] < limits[0]).any() for m in every),
            any((m.value[m.visible] > limits[1]).any() for m in every),
        ),
    )


def patch_sheet(one: PatchMap, close: CloseUp, count: int, watermark: str) -> PatchSheet:
    """The patches with the highest and the lowest values, read from the slide again.

    Raises:
        PixelError: The slide cannot be decoded.
    """
    read = patch_reader(close, one)

    def shown(row: int) -> PatchShown:
        x, y = one.patch_xy_level0[row].tolist()
        pixels = np.asarray(Image.fromarray(read(row)).resize((_PATCH_PX, _PATCH_PX)))
        marked = watermarked(pixels, watermark, em_px(_PATCH_PX)) if watermark else pixels
        return PatchShown(
            picture=picture_of(marked, f"Patch at x {x}, y {y}"),
            value=float(one.value[row]),
            xy_level0=(x, y),
            tissue_fraction=float(one.tissue_fraction[row]),
            region=int(one.region_index[row]),
        )

    highest, lowest = extremes(one, count)
    return PatchSheet(
        attention=one.attention,
        highest=[shown(row) for row in highest.tolist()],
        lowest=[shown(row) for row in lowest.tolist()],
    )


def _scene(
    canvas: Canvas, maps: Sequence[PatchMap], settings: HeatmapSettings | None = None
) -> Scene:
    assert canvas.mask is not None
    return Scene(
        maps=maps,
        mask=canvas.mask,
        slide_level0=canvas.size_level0,
        frame=canvas.frame,
        settings=settings or HeatmapSettings(),
        em_px=canvas.em_px,
        watermark=Watermark(canvas.watermark, canvas.em_px) if canvas.watermark else None,
    )


def with_scale_bar(picture: RgbImage, canvas: Canvas, em: int) -> RgbImage:
    """The picture with its scale bar in a strip of its own below it, letters `em` px high."""
    height, width = picture.shape[:2]
    bar = ScaleBar(
        um_per_px=canvas.spacing_um_level0 * canvas.frame.level0_per_px[0],
        longest_px=max(1, min(9 * em, width // 2)),
        em_px=em,
    )
    strip = bar.height_px(width) + em // 2
    image = Image.new("RGB", (width, height + strip), (255, 255, 255))
    image.paste(Image.fromarray(picture), (0, 0))
    bar.draw(image, em // 2, height + em // 4, width)
    return np.asarray(image)
