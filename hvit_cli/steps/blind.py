"""Blinded sheets of one slide: two maps that nothing but themselves tells apart.

Plain attention colours glass and masked attention does not, so glass would give both away. It
is hidden in both, and what plain attention had left for a region's tissue is shared out anew.
Score and grade differ, so neither is on a sheet; nor is the name of the slide.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from hvit_cli.errors import UsageError
from hvit_cli.heatmaps.blocks import Abreast, Block, ColourBar, Flow, Key, Paragraph, ScaleBar
from hvit_cli.heatmaps.captions import NOT_FOR_DIAGNOSIS, colour_label
from hvit_cli.heatmaps.figure import Figure, Watermark
from hvit_cli.heatmaps.layout import FigureText, Layout, choose_layout, em_px
from hvit_cli.heatmaps.maps import PatchMap, rescale
from hvit_cli.heatmaps.panel import Panel, PanelPainter, Scene
from hvit_cli.heatmaps.render import RgbImage, colour_range, colour_table
from hvit_cli.heatmaps.stitch import PictureFrame
from hvit_cli.heatmaps.tokens import TokenMap
from hvit_cli.report.blind import PLACES, Sheet
from hvit_cli.settings import Attention, EmbeddingSettings, HeatmapSettings, ReadingSettings
from hvit_cli.slides.manifest import SlideEntry
from hvit_cli.slides.reader import Slide, open_slide
from hvit_cli.steps.choose import ChosenModel
from hvit_cli.steps.explain import explain_slide
from hvit_cli.steps.grade import Grader
from hvit_cli.storage.atomic import whole_file
from hvit_cli.storage.features import SlideFeatures
from hvit_cli.storage.work import WorkFolder
from hvit_cli.tissue.mask import read_mask

# All files bear one time, or the order in which they were made could be read from them.
_TIME = 946684800
_LONG = 2.0


class BlindPainter:
    """Draws the blinded sheets of slides.

    Args:
        models: One for masked and one for plain attention.
        maps: What the maps show and how they are painted.
        embedding: Says on which device the aggregators run.
        work: Where tissue masks lie.
    """

    def __init__(
        self,
        *,
        models: Sequence[ChosenModel],
        maps: HeatmapSettings,
        embedding: EmbeddingSettings,
        work: WorkFolder,
    ) -> None:
        self.maps = maps
        self.work = work
        self.folder = models[0].folder
        self.graders = [Grader(model, embedding) for model in models]

    def draw(
        self,
        entry: SlideEntry,
        reading: ReadingSettings,
        features: SlideFeatures,
        sheets: Sequence[Sheet],
        folder: Path,
    ) -> list[Path]:
        """Writes the sheets of one slide.

        Args:
            entry: The slide.
            reading: Where its spacing comes from.
            features: Features of all patches, which both kinds of attention can use.
            sheets: What to draw.
            folder: Where to.

        Returns:
            The files, in the order of the sheets.

        Raises:
            ModelError: The features do not fit a model.
            StorageError: A file cannot be written.
        """
        maps = {g.model.attention: self._map(g, features) for g in self.graders}
        tissue, _ = read_mask(self.work.mask(entry.slide_id))
        with open_slide(
            entry.path,
            reading,
            slide_id=entry.slide_id,
            manifest_spacing_um=entry.spacing_um,
        ) as slide:
            return [self._write(sheet, maps, tissue.pixels, slide, folder) for sheet in sheets]

    def _map(self, grader: Grader, features: SlideFeatures) -> PatchMap:
        found = explain_slide(grader, features, self.maps)
        raw = found.as_patch_map() if isinstance(found, TokenMap) else found
        return rescale(without_glass(raw), self.maps.shown_scale)

    def _write(
        self,
        sheet: Sheet,
        maps: Mapping[Attention, PatchMap],
        mask: npt.NDArray[np.uint8],
        slide: Slide,
        folder: Path,
    ) -> Path:
        figure = self._figure(sheet, maps, mask, slide)
        path = folder / sheet.file
        # A map alone on its sheet could be known by how well it is compressed.
        compression = 6 if len(sheet.kinds) > 1 else 0
        with whole_file(path) as temporary:
            picture = Image.fromarray(figure.picture())
            picture.save(temporary, format="PNG", compress_level=compression)
        os.utime(path, (_TIME, _TIME))
        return path

    def _figure(
        self,
        sheet: Sheet,
        maps: Mapping[Attention, PatchMap],
        mask: npt.NDArray[np.uint8],
        slide: Slide,
    ) -> Figure:
        geometry, settings = slide.geometry, self.maps
        em = em_px(settings.max_px)
        panels = [Panel(title="slide", kind="slide")]
        places = PLACES if len(sheet.kinds) > 1 else ("map",)
        panels += [
            Panel(title=place, patch_map=maps[kind])
            for place, kind in zip(places, sheet.kinds, strict=True)
        ]
        # Both maps decide the colours, also on a sheet that shows one.
        every = [maps[kind] for kind in sorted(maps)]
        words = partial(self._words, sheet, panels, every, em)
        # A pair lies side by side, or one below the other where the slide is long.
        width, height = geometry.size_level0
        columns = len(panels) if width < _LONG * height else 1
        layout = choose_layout(
            geometry.size_level0, words(geometry.spacing_um), settings.max_px, columns
        )
        if layout is None:
            raise UsageError(
                "the sheet is too small for its text",
                where="--size",
                found=settings.max_px,
                hint=f"--size {2 * settings.max_px}",
            )
        frame = PictureFrame(size_px=layout.panel_px, size_level0=geometry.size_level0)
        mark = self.folder.watermark
        scene = Scene(
            maps=every,
            mask=mask,
            slide_level0=geometry.size_level0,
            frame=frame,
            settings=settings,
            em_px=em,
            watermark=Watermark(mark, em) if mark else None,
        )
        return Figure(
            panels=[PanelPainter(panel, scene) for panel in panels],
            words=words(geometry.spacing_um * frame.level0_per_px[0], layout),
            layout=layout,
            frame=frame,
            pixels=partial(_pixels, slide),
        )

    def _words(
        self,
        sheet: Sheet,
        panels: Sequence[Panel],
        every: Sequence[PatchMap],
        em: int,
        um_per_px: float,
        layout: Layout | None = None,
    ) -> FigureText:
        settings = self.maps
        limits = colour_range(
            settings.shown_scale, every, settings.colour_range, settings.percentile
        )
        bar = ColourBar(
            label=colour_label(settings, self.folder.aggregator.region_heads),
            table=colour_table(settings.shown_colour_map),
            limits=limits,
            clipped=(
                any((m.value[m.visible] < limits[0]).any() for m in every),
                any((m.value[m.visible] > limits[1]).any() for m in every),
            ),
            opacity=settings.opacity,
            em_px=em,
        )
        panel_w = layout.panel_px[0] if layout else 10 * em
        scale = ScaleBar(
            um_per_px=um_per_px, longest_px=min(9 * em, max(1, panel_w // 2)), em_px=em
        )
        blocks: list[tuple[Block, int]] = [(bar, 36 * em), (scale, 10 * em)]
        said = "Patches without tissue have no colour. All maps of a slide share their colours. "
        return FigureText(
            header=Flow(
                blocks=[Paragraph(text=sheet.name, em_px=round(em * 1.35), bold=True)],
                gap_px=em // 4,
            ),
            footer=Flow(
                blocks=[
                    Abreast(blocks=blocks, gap_px=2 * em),
                    Key(kind="hatched", text="tissue in no region, not looked at", em_px=em),
                    Paragraph(text=said + NOT_FOR_DIAGNOSIS, em_px=em, faint=True),
                ],
                gap_px=em // 2,
            ),
            titles=tuple(Paragraph(text=panel.title, em_px=em, bold=True) for panel in panels),
        )


def without_glass(raw: PatchMap) -> PatchMap:
    """A map as if glass had not been seen: what is left is shared out among tissue when scaled."""
    shown = raw.visible & ~raw.background
    return replace(raw, visible=shown, value=np.where(shown, raw.value, 0.0))


def _pixels(slide: Slide, frame: PictureFrame) -> Iterator[RgbImage]:
    return slide.strips(frame.size_px)
