"""`tiles/<slide_id>.h5`: the regions of one slide and the tissue in their patches."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hvit_cli.errors import DamagedFileError
from hvit_cli.slides.grid import Regions
from hvit_cli.storage.arrays import read_arrays, require_arrays, write_arrays
from hvit_cli.storage.recipe import Recipe, recipe_text

KIND = "hvit-tiles"
SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class TileFile:
    """What is known about one slide's regions.

    Attributes:
        slide_id: The slide's name without suffix.
        regions: The kept regions, ordered by (y, x).
        size_level0: (width, height) of the slide in level-0 pixels.
        spacing_um_level0: Micrometres per level-0 pixel.
        spacing_um_target: The spacing asked for.
        spacing_um: The spacing achieved.
        level: The pyramid level whose pixels are read.
        downsample: Level-0 pixels per pixel of that level.
        resampled: Whether that level is reduced to the target.
        background_below: Patches with at most this tissue fraction are background.
        tissue_mm2: Tissue area of the slide in mm².
        tissue_dropped_mm2: Tissue area outside the kept regions in mm².
        recipe: What decided the content.
    """

    slide_id: str
    regions: Regions
    size_level0: tuple[int, int]
    spacing_um_level0: float
    spacing_um_target: float
    spacing_um: float
    level: int
    downsample: float
    resampled: bool
    background_below: float
    tissue_mm2: float
    tissue_dropped_mm2: float
    recipe: Recipe


def write_tiles(path: Path, tiles: TileFile) -> None:
    """Writes a tile file, whole or not at all."""
    regions = tiles.regions
    write_arrays(
        path,
        {
            "region_xy_level0": regions.xy_level0,
            "region_origin_level0": regions.origin_level0,
            "region_tissue_fraction": regions.region_tissue_fraction,
            "tissue_fraction": regions.tissue_fraction,
            "tissue_count": regions.tissue_count,
            "pixel_count": regions.pixel_count,
        },
        {
            "kind": KIND,
            "schema": SCHEMA,
            "slide_id": tiles.slide_id,
            "region_px": regions.region_px,
            "patch_px": regions.patch_px,
            "patch_level0": regions.patch_level0,
            "region_level0": regions.region_level0,
            "width_level0": tiles.size_level0[0],
            "height_level0": tiles.size_level0[1],
            "spacing_um_level0": tiles.spacing_um_level0,
            "spacing_um_target": tiles.spacing_um_target,
            "spacing_um": tiles.spacing_um,
            "level": tiles.level,
            "downsample": tiles.downsample,
            "resampled": tiles.resampled,
            "background_below": tiles.background_below,
            "tissue_mm2": tiles.tissue_mm2,
            "tissue_dropped_mm2": tiles.tissue_dropped_mm2,
            "recipe": recipe_text(tiles.recipe),
        },
    )


def read_tiles(path: Path) -> TileFile:
    """Reads a tile file.

    Raises:
        StorageError: There is no such file.
        DamagedFileError: The file is not a complete, unaltered tile file.
    """
    arrays, attributes = read_arrays(path, KIND, SCHEMA)
    require_arrays(
        path,
        arrays,
        {
            "region_xy_level0": (np.int64, 2),
            "region_origin_level0": (np.float64, 2),
            "tissue_count": (np.int64, 2),
            "pixel_count": (np.int64, 2),
        },
    )
    try:
        tiles = _tile_file(arrays, attributes)
    except (KeyError, ValueError, TypeError) as error:
        raise DamagedFileError(
            "an attribute is missing or wrong", where=path, found=error
        ) from error
    _require_consistent(path, tiles, arrays)
    return tiles


def _tile_file(arrays: dict[str, Any], attributes: dict[str, Any]) -> TileFile:
    return TileFile(
        slide_id=str(attributes["slide_id"]),
        regions=Regions(
            origin_level0=arrays["region_origin_level0"],
            patch_level0=float(attributes["patch_level0"]),
            region_px=int(attributes["region_px"]),
            patch_px=int(attributes["patch_px"]),
            tissue_count=arrays["tissue_count"],
            pixel_count=arrays["pixel_count"],
        ),
        size_level0=(int(attributes["width_level0"]), int(attributes["height_level0"])),
        spacing_um_level0=float(attributes["spacing_um_level0"]),
        spacing_um_target=float(attributes["spacing_um_target"]),
        spacing_um=float(attributes["spacing_um"]),
        level=int(attributes["level"]),
        downsample=float(attributes["downsample"]),
        resampled=bool(attributes["resampled"]),
        background_below=float(attributes["background_below"]),
        tissue_mm2=float(attributes["tissue_mm2"]),
        tissue_dropped_mm2=float(attributes["tissue_dropped_mm2"]),
        recipe=json.loads(attributes["recipe"]),
    )


def _require_consistent(path: Path, tiles: TileFile, arrays: dict[str, Any]) -> None:
    regions = tiles.regions
    shape = (len(regions), regions.patches_per_region)
    if (
        regions.tissue_count.shape != shape
        or regions.pixel_count.shape != shape
        or not np.array_equal(regions.xy_level0, arrays["region_xy_level0"])
    ):
        raise DamagedFileError(
            "the arrays do not agree with each other",
            where=path,
            found=f"counts of shape {regions.tissue_count.shape}",
            wanted=str(shape),
        )
