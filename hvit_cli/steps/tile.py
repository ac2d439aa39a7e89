"""One slide's regions and patches: laid, or read from the work folder."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from hvit_cli.errors import DamagedFileError
from hvit_cli.settings import ReadingSettings, TilingSettings, TissueSettings, as_recipe
from hvit_cli.slides.geometry import ReadingPlan
from hvit_cli.slides.manifest import SlideEntry
from hvit_cli.slides.reader import Slide
from hvit_cli.steps.picture import draw_without_regions, picture_lacks, write_picture
from hvit_cli.steps.remade import made_again, remarks
from hvit_cli.steps.segment import FoundTissue, make_mask
from hvit_cli.storage.recipe import Recipe, recipe_of, require_same_recipe
from hvit_cli.storage.status import Status, StatusRow
from hvit_cli.storage.tiles import TileFile, read_tiles, write_tiles
from hvit_cli.storage.work import WorkFolder
from hvit_cli.tissue.mask import TissueMask
from hvit_cli.tissue.regions import RegionLayout, lay_regions

# Raised when the same settings begin to give other regions.
METHOD = 1


@dataclass(frozen=True, kw_only=True)
class FoundRegions:
    """The regions of one slide, or why there are none.

    Attributes:
        status: done, or no_tissue, empty_mask, no_region, skipped.
        tiles: The regions; None without tissue, without any region for no_region.
        tissue: The tissue they were laid on.
        remark: "reused", why something was made again, or what was peculiar about the slide.
    """

    status: Status
    tiles: TileFile | None
    tissue: FoundTissue
    remark: str = ""

    def row(self, entry: SlideEntry, stage: str) -> StatusRow:
        """The slide's line in the status log."""
        mask, tiles = self.tissue.mask, self.tiles
        area = mask.tissue_mm2 if mask else None
        return StatusRow(
            slide_id=entry.slide_id,
            path=str(entry.path),
            stage=stage,
            status=self.status,
            reason=self.remark,
            spacing_um=tiles.spacing_um if tiles else None,
            n_regions=len(tiles.regions) if tiles else 0,
            n_patches=_tissue_patches(tiles) if tiles else 0,
            tissue_mm2=area,
            tissue_dropped_mm2=tiles.tissue_dropped_mm2 if tiles else area,
            pen_mm2=mask.pen_mm2 if mask else None,
        )


def make_tiles(
    slide: Slide,
    entry: SlideEntry,
    *,
    reading: ReadingSettings,
    tissue: TissueSettings,
    tiling: TilingSettings,
    work: WorkFolder,
    overwrite: bool,
    shift_patches: tuple[float, float] = (0.0, 0.0),
) -> FoundRegions:
    """Lays one slide's regions on its tissue and writes them, or reads what is there.

    The mask is made first where it is missing. The slide's picture is drawn with it.

    Args:
        slide: The open slide.
        entry: Its line in the list of slides.
        reading: The spacing at which patches will be read.
        tissue: How tissue is found.
        tiling: Regions and patches.
        work: Where masks, tiles and pictures lie.
        overwrite: Make products again that exist with other settings.
        shift_patches: Moves every grid left and up, (x, y) in patches.

    Raises:
        SpacingError: The slide is too coarse for the target spacing.
        TissueError: The mask cannot be used.
        RecipeError: A product exists with another recipe and `overwrite` is false.
        PixelError: The slide cannot be decoded.
    """
    plan = slide.plan(reading)
    found = make_mask(slide, entry, tissue, work, overwrite=overwrite)
    if found.mask is None or found.status != "done":
        found = draw_without_regions(slide, found, work)
        return FoundRegions(status=found.status, tiles=None, tissue=found, remark=found.remark)
    recipe = _recipe(found, reading, tiling, shift_patches)
    tiles, remark = _stored(work, entry, recipe, overwrite)
    picture_why = picture_lacks(entry.slide_id, work)
    if tiles is not None and picture_why:
        remark = made_again(work, work.qc_picture(entry.slide_id), picture_why)
    if tiles is None or picture_why:
        layout = lay_regions(found.mask, plan, tiling, shift_patches=shift_patches)
        write_picture(slide, found.mask, work, layout=layout, tiling=tiling)
        if tiles is None:
            tiles = _tile_file(slide, plan, reading, tiling, layout, recipe)
            write_tiles(work.tiles(entry.slide_id), tiles)
    return FoundRegions(
        status="done" if len(tiles.regions) else "no_region",
        tiles=tiles,
        tissue=found,
        remark=remarks(found.remark, remark),
    )


def _stored(
    work: WorkFolder, entry: SlideEntry, recipe: Recipe, overwrite: bool
) -> tuple[TileFile | None, str]:
    """The tile file that is there, if it is whole, and a remark."""
    path = work.tiles(entry.slide_id)
    if overwrite or not path.exists():
        return None, ""
    try:
        tiles = read_tiles(path)
    except DamagedFileError as error:
        return None, made_again(work, path, error.what)
    require_same_recipe(path, tiles.recipe, recipe)
    return tiles, "reused"


def _recipe(
    found: FoundTissue,
    reading: ReadingSettings,
    tiling: TilingSettings,
    shift_patches: tuple[float, float],
) -> Recipe:
    spacing = {
        "spacing_um": reading.spacing_um,
        "spacing_tolerance": reading.spacing_tolerance,
    }
    # Only a shifted grid is named, so that the recipes of all others stay what they were.
    shift = {"shift_patches": list(shift_patches)} if any(shift_patches) else {}
    mask_sha256 = _mask_hash(found.mask) if found.mask else ""
    return recipe_of(
        settings={
            **found.recipe["settings"],
            "reading": spacing,
            "tiling": {"method": METHOD, **as_recipe(tiling), **shift},
        },
        inputs={**found.recipe["inputs"], "mask_sha256": mask_sha256},
    )


def _mask_hash(mask: TissueMask) -> str:
    return hashlib.sha256(repr(mask.pixels.shape).encode() + mask.pixels.tobytes()).hexdigest()


def _tile_file(
    slide: Slide,
    plan: ReadingPlan,
    reading: ReadingSettings,
    tiling: TilingSettings,
    layout: RegionLayout,
    recipe: Recipe,
) -> TileFile:
    return TileFile(
        slide_id=slide.slide_id,
        regions=layout.kept,
        size_level0=slide.geometry.size_level0,
        spacing_um_level0=slide.geometry.spacing_um,
        spacing_um_target=reading.spacing_um,
        spacing_um=plan.spacing_um,
        level=plan.level,
        downsample=plan.downsample,
        resampled=plan.resampled,
        background_below=tiling.background_below,
        tissue_mm2=layout.tissue_mm2,
        tissue_dropped_mm2=layout.tissue_dropped_mm2,
        recipe=recipe,
    )


def _tissue_patches(tiles: TileFile) -> int:
    return int((tiles.regions.tissue_fraction > tiles.background_below).sum())
