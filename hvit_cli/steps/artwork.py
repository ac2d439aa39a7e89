"""One slide's maps as files: pictures, overlays, cells, a sheet of patches, numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hvit_cli.errors import UsageError
from hvit_cli.heatmaps.captions import NOT_FOR_DIAGNOSIS, colour_label
from hvit_cli.heatmaps.cells import cells, write_cells
from hvit_cli.heatmaps.contact import SheetText, contact_sheet
from hvit_cli.heatmaps.export import (
    Drawing,
    Still,
    output_kind,
    write_picture,
    write_scores,
)
from hvit_cli.heatmaps.figure import SlidePixels, watermarked
from hvit_cli.heatmaps.layout import em_px
from hvit_cli.heatmaps.maps import PatchMap
from hvit_cli.heatmaps.overlay import Overlay, write_overlay
from hvit_cli.heatmaps.panel import Panel
from hvit_cli.heatmaps.picture import Facts, Window, draw_figure
from hvit_cli.heatmaps.render import RgbImage, colour_range, colour_table
from hvit_cli.heatmaps.stitch import PictureFrame
from hvit_cli.heatmaps.tokens import TokenMap
from hvit_cli.heatmaps.unrolled import UnrolledText, unrolled_region
from hvit_cli.settings import FigureSettings, HeatmapSettings, ReadingSettings
from hvit_cli.slides.reader import Slide
from hvit_cli.storage.atomic import whole_file
from hvit_cli.storage.tiles import TileFile


@dataclass(frozen=True, kw_only=True)
class Targets:
    """Where one slide's files go.

    Attributes:
        pictures: Pictures, overlays or cells, by suffix; at least one.
        scores: NPZ of the numbers, or None.
        sheet: PNG of the foremost and last patches, or None.
    """

    pictures: tuple[Path, ...]
    scores: Path | None = None
    sheet: Path | None = None

    @property
    def files(self) -> list[Path]:
        """All of them."""
        return [*self.pictures, *(path for path in (self.scores, self.sheet) if path is not None)]


@dataclass(frozen=True, kw_only=True)
class CloseUp:
    """What is needed to read parts of a slide again.

    Attributes:
        slide: The slide, open.
        reading: At which spacing patches are read.
        tiles: Its regions, as the model was given them.
        region_weight: (M,) attention to each region.
    """

    slide: Slide
    reading: ReadingSettings
    tiles: TileFile
    region_weight: Sequence[float]

    def window(self, frame: PictureFrame) -> Iterator[RgbImage]:
        """The slide's pixels in a part of it."""
        yield self.slide.window(frame.origin_level0, frame.size_level0, frame.size_px)


@dataclass(frozen=True, kw_only=True)
class Artwork:
    """Everything that is drawn of one slide.

    Attributes:
        facts: What figures say about slide and model.
        titles: Above the map of each kind of attention, in the order they are shown.
        raw: Values as they are, by attention kind, the one shown alone first.
        scaled: The same maps on the scale that is shown.
        settings: How they are painted.
        figure: Which figure is drawn.
        mask: (h, w) tissue mask of the whole slide, 1 tissue.
        pixels: Gives the slide's pixels, or what takes their place.
        close: Reads parts of the slide; None where only its features are there.
        metadata: What is stored with the numbers.
    """

    facts: Facts
    titles: Mapping[str, str]
    raw: Mapping[str, PatchMap | TokenMap]
    scaled: Mapping[str, PatchMap | TokenMap]
    settings: HeatmapSettings
    figure: FigureSettings
    mask: npt.NDArray[np.uint8]
    pixels: SlidePixels
    close: CloseUp | None
    metadata: Mapping[str, Any]

    def write(self, targets: Targets) -> None:
        """Writes every file, each whole or not at all.

        Raises:
            UsageError: There is no such region, or the text does not fit.
            StorageError: A file cannot be written.
            PixelError: The slide cannot be decoded.
        """
        for path in targets.pictures:
            kind = output_kind(path)
            with whole_file(path) as temporary:
                if kind == "picture":
                    write_picture(temporary, self._drawing())
                elif kind == "cells":
                    raw = {kind: as_cells(one) for kind, one in self.raw.items()}
                    write_cells(temporary, cells(raw, self._painted, self.settings))
                else:
                    write_overlay(temporary, self._overlay(), ome=kind == "ome")
        if targets.sheet is not None:
            with whole_file(targets.sheet) as temporary:
                write_picture(temporary, Still(self._sheet()))
        if targets.scores is not None:
            with whole_file(targets.scores) as temporary:
                write_scores(temporary, self.raw, self.scaled, self.metadata)

    @cached_property
    def _painted(self) -> dict[str, PatchMap]:
        """The maps as they are painted: tokens as small patches."""
        return {kind: as_cells(one) for kind, one in self.scaled.items()}

    def _close(self) -> CloseUp:
        if self.close is None:
            raise UsageError(
                "single regions and patches are shown from the slide, and only features are there",
                where=self.facts.slide_id,
                hint="the slide itself, or without --figure and --top",
            )
        return self.close

    def _drawing(self) -> Drawing:
        if self.figure.figure == "4":
            return Still(self._unrolled())
        window, pixels, columns = None, self.pixels, None
        if self.figure.figure == "1":
            window, pixels, columns = self._region_window(), self._close().window, 3
        return draw_figure(
            self._panels(), self.facts, self.mask, pixels, self.settings, window, columns
        )

    def _panels(self) -> list[Panel]:
        maps = [
            Panel(title=title, patch_map=self._painted[kind]) for kind, title in self.titles.items()
        ]
        first = next(iter(self._painted.values()))
        if self.figure.figure == "1":
            return [Panel(title=f"region {self._region()}", kind="slide"), *maps]
        if self.figure.figure == "3":
            side_um = first.region_level0 * self.facts.spacing_um_level0
            regions = f"{len(first.region_xy_level0)} regions of {side_um:.0f} µm"
            return [
                Panel(title="tissue mask"),
                Panel(title=regions, patch_map=first, kind="regions"),
            ]
        # The paper's order: mask, plain, masked.
        return maps if len(maps) == 1 else [Panel(title="tissue mask"), *maps]

    def _region(self) -> int:
        """The region that is shown alone."""
        close = self._close()
        asked, regions = self.figure.shown_region, len(close.tiles.regions)
        if asked is None:
            return int(np.argmax(close.region_weight))
        if asked >= regions:
            raise UsageError(
                "the slide has no such region",
                where="--show-region",
                found=asked,
                wanted=f"0 to {regions - 1}",
            )
        return asked

    def _region_window(self) -> Window:
        regions = self._close().tiles.regions
        x, y = regions.xy_level0[self._region()].tolist()
        side = regions.region_level0
        return Window(origin_level0=(x, y), size_level0=(side, side))

    def _unrolled(self) -> RgbImage:
        window, region, close = self._region_window(), self._region(), self._close()
        regions = close.tiles.regions
        side_px = min(regions.region_px, int(regions.region_level0))
        background = regions.tissue_fraction[region] <= close.tiles.background_below
        hidden, patches = int(background.sum()), len(background)
        x, y = window.origin_level0
        picture = unrolled_region(
            close.slide.window(window.origin_level0, window.size_level0, (side_px, side_px)),
            background.reshape(regions.side, regions.side),
            UnrolledText(
                title=f"{self.facts.slide_id}, region {region} at x {x:g}, y {y:g}",
                verdict=f"{patches} patches of {regions.patch_px} px, {patches - hidden} "
                f"with tissue and {hidden} without; {self.facts.model}.",
            ),
            max_px=self.settings.max_px,
        )
        return self._marked(picture)

    def _marked(self, picture: RgbImage) -> RgbImage:
        mark = self.facts.watermark
        return watermarked(picture, mark, em_px(max(picture.shape))) if mark else picture

    def _overlay(self) -> Overlay:
        return Overlay(
            patch_map=next(iter(self._painted.values())),
            settings=self.settings,
            size_level0=self.facts.size_level0,
            spacing_um_level0=self.facts.spacing_um_level0,
        )

    def _sheet(self) -> RgbImage:
        first = next(iter(self.scaled.values()))
        scaled = first.patches if isinstance(first, TokenMap) else first
        title = f"{self.facts.slide_id}: {self.titles[scaled.attention]}"
        where = "Under each patch its value, and its top-left corner in level-0 pixels."
        return contact_sheet(
            scaled,
            self.figure.top,
            patch_reader(self._close(), scaled),
            SheetText(
                title=title,
                values=colour_label(self.settings, self.facts.heads),
                note=" ".join(
                    (self.facts.model + ".", *self.facts.notes, where, NOT_FOR_DIAGNOSIS)
                ),
            ),
            table=colour_table(self.settings.shown_colour_map),
            limits=colour_range(
                self.settings.shown_scale,
                [scaled],
                self.settings.colour_range,
                self.settings.percentile,
            ),
            watermark=self.facts.watermark,
        )


def patch_reader(close: CloseUp, patch_map: PatchMap) -> Callable[[int], RgbImage]:
    """Reads the patches of a map at the target spacing, as the encoder was given them.

    Args:
        close: The slide and its regions.
        patch_map: The map; its rows are what is read.
    """
    regions, plan = close.tiles.regions, close.slide.plan(close.reading)
    patch_px = round(regions.patch_px * regions.side / patch_map.side)

    def read(row: int) -> RgbImage:
        origin = regions.origin_level0[patch_map.region_index[row]]
        j, i = divmod(int(patch_map.patch_index[row]), patch_map.side)
        x, y = origin + np.array([i, j]) * patch_map.patch_level0
        return close.slide.read_patch(plan, (float(x), float(y)), patch_px)

    return read


def as_cells(one: PatchMap | TokenMap) -> PatchMap:
    """A map as it is painted: tokens become small patches."""
    return one.as_patch_map() if isinstance(one, TokenMap) else one
