"""One slide's tissue mask: found, taken from somebody else, or read from the work folder."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hvit_cli.errors import DamagedFileError, TissueError
from hvit_cli.settings import TissueSettings, as_recipe
from hvit_cli.settings.seal import alteration, sealed
from hvit_cli.slides.manifest import SlideEntry
from hvit_cli.slides.reader import Slide
from hvit_cli.steps.remade import ALTERED, MISSING, made_again, remarks
from hvit_cli.storage.atomic import whole_file, write_text
from hvit_cli.storage.recipe import Recipe, recipe_of, require_same_recipe
from hvit_cli.storage.status import Status, StatusRow
from hvit_cli.storage.work import WorkFolder
from hvit_cli.tissue.contours import geojson_to_mask, mask_to_geojson
from hvit_cli.tissue.external import read_external_mask
from hvit_cli.tissue.mask import TissueMask, read_mask, write_mask
from hvit_cli.tissue.segmentation import segment_slide

# Raised when the same settings begin to give other masks.
METHOD = 1
# These say where a mask comes from, not what it is: the source and its hash are inputs.
_WHEREABOUTS = {"mask_dir", "mask_pattern", "missing_mask", "tissue_geojson"}


@dataclass(frozen=True, kw_only=True)
class FoundTissue:
    """The tissue of one slide, or why there is none.

    Attributes:
        status: done, or no_tissue, empty_mask, skipped.
        mask: The mask; None for a slide that was skipped.
        recipe: What decided the mask.
        remark: Why it was made again, or what was peculiar about the slide.
        reused: Whether the mask was already there.
    """

    status: Status
    mask: TissueMask | None
    recipe: Recipe
    remark: str = ""
    reused: bool = False

    def row(self, entry: SlideEntry, spacing_um: float | None, stage: str) -> StatusRow:
        """The slide's line in the status log; the spacing is that of level 0."""
        mask = self.mask
        return StatusRow(
            slide_id=entry.slide_id,
            path=str(entry.path),
            stage=stage,
            status=self.status,
            reason=self.remark or ("reused" if self.reused else ""),
            spacing_um=spacing_um,
            tissue_mm2=mask.tissue_mm2 if mask else None,
            pen_mm2=mask.pen_mm2 if mask else None,
        )


@dataclass(frozen=True)
class _Source:
    """Where a mask comes from: nowhere (segmentation), a mask file, or outlines."""

    kind: str
    path: Path | None = None


def make_mask(
    slide: Slide, entry: SlideEntry, settings: TissueSettings, work: WorkFolder, *, overwrite: bool
) -> FoundTissue:
    """Finds one slide's tissue and writes mask and outlines, or reads what is there.

    A mask path in the manifest goes before `--mask-dir` and `--tissue-geojson`.

    Args:
        slide: The open slide.
        entry: Its line in the list of slides.
        settings: How tissue is found, or whose mask is taken.
        work: Where mask and outlines lie.
        overwrite: Make the mask again when it exists with other settings.

    Raises:
        TissueError: The mask of others is missing or does not fit; or the slide's colours
            are not those of glass and stain.
        RecipeError: The mask exists with another recipe and `overwrite` is false.
        PixelError: The slide cannot be decoded.
    """
    source = _source(entry, settings)
    if source is None:
        return FoundTissue(status="skipped", mask=None, recipe={}, remark="it has no mask")
    recipe = _recipe(slide, settings, source)
    path, remark = work.mask(entry.slide_id), ""
    if path.exists() and not overwrite:
        try:
            mask, found_recipe = read_mask(path)
        except DamagedFileError as error:
            remark = made_again(work, path, error.what)
        else:
            require_same_recipe(path, found_recipe, recipe)
            return _found(mask, recipe, _mended_contours(mask, entry, work), reused=True)
    mask = _read_or_segment(slide, settings, source)
    with whole_file(path) as temporary:
        write_mask(temporary, mask, recipe)
    _write_contours(mask, entry, work)
    return _found(mask, recipe, remark)


def _found(
    mask: TissueMask, recipe: Recipe, remark: str = "", *, reused: bool = False
) -> FoundTissue:
    status: Status = "done"
    if mask.is_empty:
        status = "no_tissue" if mask.source == "segmented" else "empty_mask"
    remark = remarks(mask.note, remark)
    return FoundTissue(status=status, mask=mask, recipe=recipe, remark=remark, reused=reused)


def named_mask(entry: SlideEntry, settings: TissueSettings) -> Path | None:
    """The mask or outlines that are to replace segmentation, there or not; None for neither."""
    if entry.mask_path is not None:
        return entry.mask_path
    if settings.tissue_geojson is not None:
        return settings.tissue_geojson / f"{entry.slide_id}.geojson"
    if settings.mask_dir is not None:
        return settings.mask_dir / settings.mask_pattern.format(slide_id=entry.slide_id)
    return None


def tissue_files(entry: SlideEntry, settings: TissueSettings, work: WorkFolder) -> list[Path]:
    """Every file that a slide's mask came from and went to."""
    named = named_mask(entry, settings)
    own = [work.mask(entry.slide_id), work.contours(entry.slide_id)]
    return own if named is None else [named, *own]


def _source(entry: SlideEntry, settings: TissueSettings) -> _Source | None:
    """Which mask is meant; None for a slide that is left out because it has none.

    Raises:
        TissueError: The mask is missing and must not be.
    """
    path = named_mask(entry, settings)
    if path is None:
        return _Source("segmented")
    if entry.mask_path is not None:
        return _Source("external", path)
    candidate = _Source("external" if settings.tissue_geojson is None else "geojson", path)
    if path.is_file():
        return candidate
    if settings.missing_mask == "segment":
        return _Source("segmented")
    if settings.missing_mask == "skip":
        return None
    raise TissueError(
        "this slide has no mask",
        where=entry.slide_id,
        wanted=candidate.path,
        hint="--mask-pattern, or --missing-mask segment or skip",
    )


def _recipe(slide: Slide, settings: TissueSettings, source: _Source) -> Recipe:
    tissue = {k: v for k, v in as_recipe(settings).items() if k not in _WHEREABOUTS}
    inputs: dict[str, Any] = {
        "slide": slide.fingerprint,
        "spacing_um_level0": slide.geometry.spacing_um,
        "tissue": source.kind,
    }
    if source.path is not None:
        inputs["tissue_sha256"] = _sha256(source.path)
    return recipe_of(settings={"tissue": {"method": METHOD, **tissue}}, inputs=inputs)


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise TissueError(
            "the mask cannot be read", where=path, found=error.strerror or error
        ) from error


def _read_or_segment(slide: Slide, settings: TissueSettings, source: _Source) -> TissueMask:
    size, spacing_um = slide.geometry.size_level0, slide.geometry.spacing_um
    if source.path is None:
        return segment_slide(slide, settings)
    if source.kind == "external":
        return read_external_mask(source.path, size, spacing_um, settings.tissue_values)
    try:
        geojson = json.loads(source.path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise TissueError(
            "the outlines cannot be read", where=source.path, found=error, wanted="GeoJSON"
        ) from error
    return geojson_to_mask(geojson, size, spacing_um, where=source.path)


def _mended_contours(mask: TissueMask, entry: SlideEntry, work: WorkFolder) -> str:
    """Writes the outlines again where they are missing or altered; says so.

    Outlines without a checksum are somebody else's, or from before it was written, and stay.
    """
    path = work.contours(entry.slide_id)
    if not path.exists():
        why = MISSING
    else:
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(found, dict) or alteration(found) is None:
                return ""
            why = ALTERED
        except (OSError, ValueError, RecursionError):
            why = "it cannot be read"
    _write_contours(mask, entry, work)
    return made_again(work, path, why)


def _write_contours(mask: TissueMask, entry: SlideEntry, work: WorkFolder) -> None:
    text = json.dumps(sealed(mask_to_geojson(mask)), separators=(",", ":"))
    write_text(work.contours(entry.slide_id), text)
