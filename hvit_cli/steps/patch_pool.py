"""From slides to the pool of their tissue patches, which pretraining draws from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hvit_cli.errors import UsageError
from hvit_cli.pretraining.pool import PatchPool, PoolSlide
from hvit_cli.settings import ReadingSettings, TilingSettings, TissueSettings
from hvit_cli.slides.manifest import SlideEntry
from hvit_cli.slides.reader import open_slide
from hvit_cli.steps.tile import make_tiles
from hvit_cli.storage.status import StatusRow
from hvit_cli.storage.work import WorkFolder


@dataclass(frozen=True, kw_only=True)
class PoolFinder:
    """Everything that decides which patches of a slide are tissue.

    Attributes:
        work: Where masks and regions are looked for and written.
        reading: Spacing at which slides are read, and where their own comes from.
        tissue: How tissue is found.
        tiling: How it is cut into regions and patches.
        overwrite: Make products again that exist with other settings.
    """

    work: WorkFolder
    reading: ReadingSettings
    tissue: TissueSettings
    tiling: TilingSettings
    overwrite: bool = False

    def find(self, entry: SlideEntry, stage: str) -> tuple[StatusRow, PoolSlide | None]:
        """One slide's tissue patches, or nothing where it has none (the row says why).

        Masks and regions are those of `hvit tile`, made where they are missing.

        Raises:
            SlideError: The slide or its spacing cannot be read.
            RecipeError: A product exists with other settings.
        """
        with open_slide(
            entry.path,
            self.reading,
            slide_id=entry.slide_id,
            manifest_spacing_um=entry.spacing_um,
        ) as slide:
            found = make_tiles(
                slide,
                entry,
                reading=self.reading,
                tissue=self.tissue,
                tiling=self.tiling,
                work=self.work,
                overwrite=self.overwrite,
            )
            plan = slide.plan(self.reading)
        row, tiles = found.row(entry, stage), found.tiles
        if tiles is None or found.status != "done":
            return row, None
        regions = tiles.regions
        wanted = regions.tissue_fraction > tiles.background_below
        if not wanted.any():
            return row, None
        pooled = PoolSlide(
            slide_id=entry.slide_id,
            path=entry.path,
            manifest_spacing_um=entry.spacing_um,
            plan=plan,
            origin_level0=regions.patch_origin_level0[wanted],
            recipe=tiles.recipe,
        )
        return row, pooled

    def pool(self, slides: Sequence[PoolSlide]) -> PatchPool:
        """The pool of the slides that have tissue.

        Raises:
            UsageError: None has.
        """
        if not slides:
            raise UsageError(
                "no slide holds a tissue patch: there is nothing to learn from",
                hint="the pictures in the work folder's qc/ show what was found",
            )
        return PatchPool(slides=tuple(slides), patch_px=self.tiling.patch_px)
