"""`--dry-run`: what a command would do to which slides; nothing is written."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from hvit_cli.errors import HvitError
from hvit_cli.settings import ReadingSettings, TilingSettings, TissueSettings
from hvit_cli.slides.entry import SlideEntry
from hvit_cli.slides.manifest import find_slides
from hvit_cli.slides.reader import open_slide
from hvit_cli.steps.choose import ModelRequest, choose_model, reading_of, tissue_of
from hvit_cli.storage.status import StatusRow, read_status
from hvit_cli.storage.work import WorkFolder
from hvit_cli.tissue.regions import lay_regions
from hvit_cli.tissue.segmentation import segment_slide

# Each is segmented, which takes about a second.
_LOOKED_AT = 12
# Rows that know a slide's regions; embedding counts only the patches that it stored.
_KNOWN_BY = ("tile", "embed", "predict", "heatmap")
# Coordinates, indices and tissue fraction of a patch in a feature file, beside its features.
_BYTES_BESIDE = 2 * 8 + 8 + 8 + 4


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What a command would do.

    Attributes:
        stage: The command.
        slides: Slides it was given, without those excluded.
        formats: How many there are of each suffix.
        done: Slides that the logs say are done with whatever settings; the run itself checks.
        failed: Slides whose last try failed.
        pending: Slides that no run has ended.
        spacings_um: Least and greatest level-0 spacing of the slides looked at, in µm per pixel.
        problems: What is wrong with slides that were looked at, with their names.
        known: Slides whose regions are known from the logs.
        looked_at: Slides that were opened and segmented for the estimate, nothing of it kept.
        regions: Regions of all slides; None where nothing is known.
        patches: Patches with tissue in them.
        is_estimated: Whether regions and patches are extrapolated from some of the slides.
        seconds: Time for failed and pending slides, one after another, at the rate of earlier
            slides of this stage; None where there were none.
        feature_bytes: Disk that the features of failed and pending slides would take; None
            where the command makes none, or the width of its encoder is not known.
        free_bytes: Free disk where the work folder lies, or would lie.
    """

    stage: str
    slides: int
    formats: dict[str, int]
    done: int
    failed: int
    pending: int
    spacings_um: tuple[float, float] | None
    problems: tuple[str, ...]
    known: int
    looked_at: int
    regions: int | None
    patches: int | None
    is_estimated: bool
    seconds: float | None
    feature_bytes: int | None
    free_bytes: int


@dataclass(frozen=True)
class _Look:
    spacing_um: float
    regions: int
    patches: int


def forecast(
    sources: Sequence[Path],
    stage: str,
    *,
    work: WorkFolder,
    reading: ReadingSettings,
    tissue: TissueSettings,
    tiling: TilingSettings,
    request: ModelRequest | None = None,
    exclude: Path | None = None,
    only: Collection[str] | None = None,
) -> Forecast:
    """Says what a command would do, from the logs and from a look at a few slides.

    Args:
        sources: Slides, folders, manifests.
        stage: The command.
        work: The work folder.
        reading: Target spacing, and where the slides' own comes from.
        tissue: How tissue is found; masks of others are not read for the estimate.
        tiling: Regions and patches.
        request: The model, whose spacing and tiling are taken; None for those given.
        exclude: Table of slides to leave out.
        only: The slides that count, by name; None for all of them.

    Raises:
        HvitError: The run itself could not begin: no slides, no model.
    """
    entries = find_slides(sources, exclude=exclude, mask_pattern=tissue.mask_pattern)
    if only is not None:
        entries = [entry for entry in entries if entry.slide_id in only]
    width: int | None = None
    if request is not None:
        model = choose_model(request, work, slides=len(entries))
        reading, tiling = reading_of(model, reading), model.folder.tiling
        tissue = tissue_of(model, tissue)
        width = model.folder.aggregator.patch_dim
    rows = read_status(work.path)
    every = {row.slide_id: row for row in rows if row.stage == stage}
    ended = [every[entry.slide_id] for entry in entries if entry.slide_id in every]
    failed = sum(row.status == "failed" for row in ended)
    left = len(entries) - len(ended) + failed
    known = _known(entries, rows)
    unknown = [entry for entry in entries if entry.slide_id not in known]
    looks, problems = _look(unknown, reading, tissue, tiling)
    regions, patches = _total(known, looks, len(unknown))
    spacings = [look.spacing_um for look in looks]
    worked = [
        r.seconds for r in ended if r.status != "failed" and not r.reason.startswith("reused")
    ]
    return Forecast(
        stage=stage,
        slides=len(entries),
        formats=dict(sorted(Counter(e.path.suffix.lower() or "folder" for e in entries).items())),
        done=len(ended) - failed,
        failed=failed,
        pending=len(entries) - len(ended),
        spacings_um=(min(spacings), max(spacings)) if spacings else None,
        problems=tuple(problems),
        known=len(known),
        looked_at=len(looks),
        regions=regions,
        patches=patches,
        is_estimated=bool(unknown),
        seconds=left * fmean(worked) if worked else None,
        feature_bytes=(
            None
            if width is None or patches is None
            else round(patches * left / len(entries)) * (2 * width + _BYTES_BESIDE)
        ),
        free_bytes=shutil.disk_usage(_existing(work.path)).free,
    )


def _known(entries: Sequence[SlideEntry], rows: Sequence[StatusRow]) -> dict[str, _Look]:
    """Regions and patches by the first stage that knows them."""
    found: dict[str, _Look] = {}
    for stage in _KNOWN_BY:
        for row in rows:
            if row.stage == stage and row.status != "failed" and row.slide_id not in found:
                found[row.slide_id] = _Look(0.0, row.n_regions or 0, row.n_patches or 0)
    asked = {entry.slide_id for entry in entries}
    return {name: look for name, look in found.items() if name in asked}


def _look(
    entries: Sequence[SlideEntry],
    reading: ReadingSettings,
    tissue: TissueSettings,
    tiling: TilingSettings,
) -> tuple[list[_Look], list[str]]:
    """Segments and tiles a few slides, evenly chosen, in memory alone."""
    step = max(1, len(entries) // _LOOKED_AT)
    looks, problems = [], []
    for entry in entries[::step][:_LOOKED_AT]:
        try:
            with open_slide(
                entry.path,
                reading,
                slide_id=entry.slide_id,
                manifest_spacing_um=entry.spacing_um,
            ) as slide:
                plan, mask = slide.plan(reading), segment_slide(slide, tissue)
                kept = lay_regions(mask, plan, tiling).kept
                patches = int((kept.tissue_fraction > tiling.background_below).sum())
                looks.append(_Look(slide.geometry.spacing_um, len(kept), patches))
        except HvitError as error:
            problems.append(str(error))
    return looks, problems


def _total(
    known: dict[str, _Look], looks: Sequence[_Look], unknown: int
) -> tuple[int | None, int | None]:
    """Regions and patches of all slides; the mean of those looked at for the rest."""
    if unknown and not looks:
        return None, None
    totals = []
    for name in ("regions", "patches"):
        mean = fmean(getattr(look, name) for look in looks) if looks else 0.0
        certain = sum(getattr(look, name) for look in known.values())
        totals.append(certain + round(mean * unknown))
    return totals[0], totals[1]


def _existing(folder: Path) -> Path:
    path = folder.absolute()
    while not path.is_dir():
        path = path.parent
    return path
