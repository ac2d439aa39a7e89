"""One panel of a figure, painted a few rows at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from hvit_cli.heatmaps.blocks import hatch_step_px
from hvit_cli.heatmaps.emphasis import brought_out
from hvit_cli.heatmaps.figure import Watermark
from hvit_cli.heatmaps.maps import PatchMap
from hvit_cli.heatmaps.render import (
    LINE,
    RgbImage,
    colour_range,
    colour_table,
    dim,
    dropped_tissue,
    hatch,
    mask_in_frame,
    mask_picture,
    outline,
    paint,
    region_boxes_px,
    tissue_border,
)
from hvit_cli.heatmaps.stitch import PictureFrame, Stitcher
from hvit_cli.settings import HeatmapSettings

PanelKind = Literal["map", "mask", "slide", "regions"]
_BORDER = (20, 20, 20)


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One panel of a figure.

    Attributes:
        title: What stands above it.
        patch_map: Its map, on the figure's scale, for a map.
        kind: map, the tissue mask, the slide as it is, or the slide with its regions. Nothing
            said: a map where there is one, else the mask.
    """

    title: str
    patch_map: PatchMap | None = None
    kind: PanelKind | None = None

    @property
    def shows(self) -> PanelKind:
        """What it shows."""
        return self.kind or ("mask" if self.patch_map is None else "map")


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What the panels of a figure share.

    Attributes:
        maps: The maps of all panels: they share one range of colours.
        mask: (h, w) tissue mask of the whole slide, 1 tissue.
        slide_level0: (width, height) of the slide in level-0 pixels.
        frame: The part of the slide that every panel shows, and at which size.
        settings: How maps are painted.
        em_px: Height of the letters.
        watermark: Stamped on every panel, or None.
    """

    maps: Sequence[PatchMap]
    mask: npt.NDArray[np.uint8]
    slide_level0: tuple[int, int]
    frame: PictureFrame
    settings: HeatmapSettings
    em_px: int
    watermark: Watermark | None = None


class PanelPainter:
    """Paints one panel band by band.

    Args:
        panel: What to paint.
        scene: What it shares with the others.
    """

    def __init__(self, panel: Panel, scene: Scene) -> None:
        self._shows, self._scene = panel.shows, scene
        self._line_px = max(1, scene.em_px // 24)
        settings = scene.settings
        self._boxes = region_boxes_px(panel.patch_map or scene.maps[0], scene.frame)
        self._table = colour_table(settings.shown_colour_map)
        self._limits = colour_range(
            settings.shown_scale, scene.maps, settings.colour_range, settings.percentile
        )
        self._stitcher: Stitcher | None = None
        if panel.patch_map is not None and self._shows == "map":
            self._stitcher = Stitcher(
                panel.patch_map,
                scene.frame,
                shown=brought_out(panel.patch_map, settings),
                smooth=settings.smooth,
            )

    def band(self, slide: RgbImage, top_px: int) -> RgbImage:
        """The panel's rows from `top_px` on, over these rows of the slide's own picture."""
        scene, settings = self._scene, self._scene.settings
        bottom = top_px + len(slide)
        tissue, border = self._tissue(top_px, bottom)
        picture = slide
        if self._shows == "mask":
            picture = outline(mask_picture(tissue), self._boxes, self._line_px, top_px)
        elif self._shows == "regions":
            picture = outline(slide, self._boxes, 2 * self._line_px, top_px)
        elif self._stitcher is not None:
            values, rim = self._values(self._stitcher, top_px, bottom)
            if settings.highlight is not None:
                picture = dim(slide, np.isnan(values))
            else:
                picture = paint(slide, values, self._table, self._limits, settings.opacity)
                # White, where 0 is neutral, looks like glass that was not seen.
                picture = np.where(rim[..., None], np.array(LINE, np.uint8), picture)
            if settings.outline:
                picture = outline(picture, self._boxes, self._line_px, top_px)
            if settings.contour:
                picture = np.where(border[..., None], np.array(_BORDER, np.uint8), picture)
        if self._shows != "slide":
            dropped = dropped_tissue(tissue, self._boxes, top_px)
            picture = hatch(picture, dropped, hatch_step_px(scene.em_px), top_px)
        if scene.watermark is not None:
            picture = scene.watermark.onto(picture, top_px, scene.frame.size_px[1])
        return picture

    def _values(
        self, stitcher: Stitcher, top_px: int, bottom_px: int
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """The values of these rows, and for signed maps the rim of what has any."""
        scene = self._scene
        if not any(one.signed for one in scene.maps):
            values = stitcher.band(top_px, bottom_px)
            return values, np.zeros(values.shape, bool)
        first = max(0, top_px - self._line_px)
        end = min(scene.frame.size_px[1], bottom_px + self._line_px)
        values = stitcher.band(first, end)
        rows = slice(top_px - first, bottom_px - first)
        return values[rows], tissue_border(~np.isnan(values), self._line_px)[rows]

    def _tissue(
        self, top_px: int, bottom_px: int
    ) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Tissue in these rows, and its border; a border depends on the rows around it too."""
        scene, thick = self._scene, max(1, self._scene.em_px // 16)
        first = max(0, top_px - thick)
        end = min(scene.frame.size_px[1], bottom_px + thick)
        tissue = mask_in_frame(scene.mask, scene.frame, scene.slide_level0, (first, end))
        rows = slice(top_px - first, bottom_px - first)
        wanted = scene.settings.contour
        border = tissue_border(tissue, thick) if wanted else np.zeros_like(tissue)
        return tissue[rows], border[rows]
