"""Patches of other programs into regions: the feature file that hvit would have written.

Absent patches are what masked attention is for: they are background. A region's grid is laid
over the patches that are there as it is laid over tissue elsewhere, each patch one cell.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from hvit_cli.errors import SpacingError, StorageError
from hvit_cli.settings import ReadingSettings, TilingSettings
from hvit_cli.slides.geometry import ReadingPlan, SlideGeometry, plan_reading
from hvit_cli.steps.lattice import Lattice, fit_lattice
from hvit_cli.steps.regrouping import Known, Regrouping
from hvit_cli.storage.features import SlideFeatures
from hvit_cli.storage.foreign.patches import ForeignPatches, ForeignRegions
from hvit_cli.tissue.mask import TissueMask
from hvit_cli.tissue.regions import lay_regions

# Mask pixels along a patch; `lay_regions` asks for four.
_PX_PER_PATCH = 4


def regroup_patches(patches: ForeignPatches, how: Regrouping, known: Known) -> SlideFeatures:
    """Groups patches on one lattice into regions; absent patches are background.

    The tissue fraction of a patch that is there is 1 where no file says.

    Raises:
        StorageError: The patches are of another size, or do not lie on one lattice.
        SpacingError: Their spacing is not the one asked for.
    """
    where = patches.slide_id
    tiling = how.tiling
    if patches.patch_px is not None and patches.patch_px != tiling.patch_px:
        raise StorageError(
            "the patches are of another size",
            where=where,
            found=f"{patches.patch_px} px",
            wanted=f"{tiling.patch_px} px",
            hint=f"--patch {patches.patch_px} --region {patches.patch_px * tiling.side}",
        )
    lattice = fit_lattice(
        patches.xy_level0,
        patches.patch_level0 or how.patch_level0,
        where=f"{where}: coords",
        rounded_down=how.layout == "trident" and patches.patch_level0 is not None,
    )
    spacing_level0, known = _known_spacing(patches, lattice, how, known)
    achieved = spacing_level0 * lattice.step_level0 / tiling.patch_px
    _check_spacing(achieved, how.reading, where)
    origin, owner = _lay(lattice, spacing_level0, tiling)
    column, row = lattice.cell.T
    region = owner[row, column]
    kept = region >= 0
    corner = (origin - np.asarray(lattice.origin_level0)) // lattice.step_level0
    within = lattice.cell - corner[region]
    slot = within[:, 1] * tiling.side + within[:, 0]
    order = np.lexsort((slot, region))
    order = order[kept[order]]
    fraction = patches.tissue_fraction
    if fraction is None:
        fraction = np.ones(len(patches.features), np.float32)
    per_region = np.zeros(len(origin), np.float64)
    np.add.at(per_region, region[order], fraction[order])
    patch_mm2 = (lattice.step_level0 * spacing_level0 / 1000) ** 2
    size = known.size_level0 or _extent(patches.xy_level0, lattice.step_level0)
    return SlideFeatures(
        features=_as_float16(patches.features[order], f"{where}: features"),
        coords=patches.xy_level0[order],
        region_index=region[order],
        patch_index=slot[order],
        tissue_fraction=fraction[order],
        region_xy_level0=origin,
        region_tissue_fraction=np.asarray(per_region / tiling.side**2, np.float32),
        # A slide all of whose regions are full serves plain attention as well.
        patches="all" if len(order) == len(origin) * tiling.side**2 else "tissue",
        patch_level0=float(lattice.step_level0),
        size_level0=size,
        spacing_um_level0=spacing_level0,
        spacing_um=achieved,
        tissue_mm2=float(fraction.sum()) * patch_mm2,
        tissue_dropped_mm2=float(fraction[~kept].sum()) * patch_mm2,
        recipe=how.recipe(
            {
                **patches.inputs,
                "tissue_fraction": "stored" if patches.tissue_fraction is not None else "assumed 1",
                "patch_level0": "stated" if lattice.stated else "from the coordinates",
            },
            known,
        ),
        **_shared(patches.slide_id, how),
    )


def regroup_regions(regions: ForeignRegions, how: Regrouping, known: Known) -> SlideFeatures:
    """Puts whole regions, as the original stores them, into hvit's order.

    Every patch keeps its row, background too, so that the file serves both kinds of attention.

    Raises:
        StorageError: The regions hold another number of patches, or two lie at one place.
        SpacingError: The spacing of level 0 is not known, or too coarse.
    """
    where, tiling = regions.slide_id, how.tiling
    count, slots, _ = regions.features.shape
    if slots != tiling.side**2:
        side = round(slots**0.5)
        raise StorageError(
            "the regions hold another number of patches",
            where=f"{where}: tensor",
            found=slots,
            wanted=f"{tiling.side**2}, as {tiling.region_px} px hold",
            hint=f"--region {side * tiling.patch_px}" if side**2 == slots else None,
        )
    if len(np.unique(regions.xy_level0, axis=0)) != count:
        raise StorageError("two regions lie at one place", where=where)
    plan = _plan(how.reading, known, where)
    step = plan.level0_per_px * tiling.patch_px
    order = np.lexsort(regions.xy_level0.T)
    xy = regions.xy_level0[order]
    row, column = np.divmod(np.arange(slots), tiling.side)
    offset = np.floor(np.stack([column, row], axis=1) * step + 0.5).astype(np.int64)
    fraction = regions.tissue_fraction
    if fraction is None:
        fraction = np.ones((count, slots), np.float32)
    fraction = fraction[order]
    patch_mm2 = (step * plan.spacing_um_level0 / 1000) ** 2
    features = regions.features[order].reshape(count * slots, -1)
    return SlideFeatures(
        features=_as_float16(features, f"{where}: tensor"),
        coords=(xy[:, None] + offset[None]).reshape(-1, 2),
        region_index=np.repeat(np.arange(count), slots),
        patch_index=np.tile(np.arange(slots), count),
        tissue_fraction=fraction.reshape(-1),
        region_xy_level0=xy,
        region_tissue_fraction=np.asarray(fraction.mean(axis=1, dtype=np.float64), np.float32),
        patches="all",
        patch_level0=step,
        size_level0=known.size_level0 or _extent(xy, round(step * tiling.side)),
        spacing_um_level0=plan.spacing_um_level0,
        spacing_um=plan.spacing_um,
        tissue_mm2=float(fraction.sum()) * patch_mm2,
        tissue_dropped_mm2=0.0,
        recipe=how.recipe(
            {
                **regions.inputs,
                "tissue_fraction": "stored" if regions.tissue_fraction is not None else "assumed 1",
            },
            known,
        ),
        **_shared(regions.slide_id, how),
    )


def _shared(slide_id: str, how: Regrouping) -> dict[str, Any]:
    return {
        "slide_id": slide_id,
        "patches_per_region": how.tiling.side**2,
        "background_below": how.tiling.background_below,
        "encoder": how.maker.name,
        "encoder_hash": how.maker.weights_hash,
        "normalisation": how.maker.normalisation,
        "precision": "unknown",
        "region_px": how.tiling.region_px,
        "patch_px": how.tiling.patch_px,
        "spacing_um_target": how.reading.spacing_um,
    }


def _known_spacing(
    patches: ForeignPatches, lattice: Lattice, how: Regrouping, known: Known
) -> tuple[float, Known]:
    """What is known of the slide, completed by what its files say or by an assumption."""
    size = known.size_level0 or patches.size_level0
    spacing, source = known.spacing_um_level0, known.spacing_from
    if spacing is None and patches.spacing_um_level0 is not None:
        spacing, source = patches.spacing_um_level0, "file"
    if spacing is None:
        target = patches.spacing_um or how.reading.spacing_um
        spacing = target * how.tiling.patch_px / lattice.step_level0
        source = f"assumed: the patches are at {target:g} µm per pixel"
    return spacing, Known(spacing_um_level0=spacing, spacing_from=source, size_level0=size)


def _check_spacing(achieved: float, reading: ReadingSettings, where: str) -> None:
    if abs(achieved - reading.spacing_um) / reading.spacing_um > reading.spacing_tolerance + 1e-9:
        raise SpacingError(
            "the patches are at another spacing",
            where=where,
            found=f"{achieved:.4g} µm/px",
            wanted=f"{reading.spacing_um:g} ± {reading.spacing_tolerance:.0%}",
            hint=f"--spacing {achieved:.3g}, or --spacing-tolerance",
        )


def _lay(
    lattice: Lattice, spacing_um_level0: float, tiling: TilingSettings
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Region corners (M, 2), and the region of every cell (rows, columns) or -1."""
    columns, rows = (lattice.cell.max(axis=0) + 1).tolist() if len(lattice.cell) else (1, 1)
    there = np.zeros((rows, columns), np.uint8)
    there[lattice.cell[:, 1], lattice.cell[:, 0]] = 1
    step = lattice.step_level0
    mask = TissueMask(
        pixels=there.repeat(_PX_PER_PATCH, axis=0).repeat(_PX_PER_PATCH, axis=1),
        size_level0=(columns * step, rows * step),
        spacing_um=spacing_um_level0 * step / _PX_PER_PATCH,
        source="external",
    )
    plan = ReadingPlan(
        level=0,
        downsample=step / tiling.patch_px,
        spacing_um_level0=spacing_um_level0,
        spacing_um=spacing_um_level0 * step / tiling.patch_px,
        resampled=False,
    )
    kept = lay_regions(mask, plan, tiling).kept
    # Without a least fraction squares of a slide-wide grid may hold nothing.
    corners = kept.xy_level0[kept.tissue_count.sum(axis=1) > 0]
    owner = np.full((rows, columns), -1, np.int64)
    for number, (column, row) in enumerate((corners // step).tolist()):
        owner[max(row, 0) : row + tiling.side, max(column, 0) : column + tiling.side] = number
    return corners + np.asarray(lattice.origin_level0), owner


def _plan(reading: ReadingSettings, known: Known, where: str) -> ReadingPlan:
    geometry = known.geometry
    if geometry is None:
        if known.spacing_um_level0 is None:
            raise SpacingError(
                "the spacing of level 0 decides how large a region is, and is not known",
                where=where,
                hint="--spacing-level0, or --slides with the slides themselves",
            )
        geometry = SlideGeometry(
            sizes=(known.size_level0 or (1, 1),),
            downsamples=(1.0,),
            spacing_um=known.spacing_um_level0,
        )
    return plan_reading(geometry, reading.spacing_um, reading.spacing_tolerance, where=where)


def _extent(xy_level0: npt.NDArray[np.int64], side_level0: int) -> tuple[int, int]:
    """The least size of a slide that holds these squares."""
    if not len(xy_level0):
        return (side_level0, side_level0)
    width, height = (xy_level0.max(axis=0) + side_level0).tolist()
    return (width, height)


def _as_float16(features: npt.NDArray[Any], where: str) -> npt.NDArray[np.float16]:
    """Features rounded as hvit rounds its own.

    Raises:
        StorageError: Some are not finite, or too large.
    """
    largest = float(np.finfo(np.float16).max)
    bad = ~(np.abs(features) <= largest)
    if bad.any():
        place = np.argwhere(bad)[0]
        raise StorageError(
            "features must be finite and within the range of float16",
            where=where,
            found=f"{features[tuple(place)]} in row {place[0]}, {int(bad.any(axis=1).sum())} rows",
        )
    return np.asarray(features, np.float16)
