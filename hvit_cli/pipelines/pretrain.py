"""`hvit pretrain`: slides (or features of their patches) to an encoder that was taught no label.

Two levels share everything but what is read: patches of slides make a patch encoder, regions
of features make a region Transformer.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import torch

from hvit_cli.engine.attempt import Step
from hvit_cli.engine.completed import with_products
from hvit_cli.engine.execute import one_at_a_time
from hvit_cli.engine.execute import run_job as run_slides_job
from hvit_cli.engine.job import SlideJob
from hvit_cli.engine.run import SlideRecord
from hvit_cli.errors import LabelError, UsageError
from hvit_cli.pretraining.cache import CachedSlide, cache_file, cache_slide, missing_files
from hvit_cli.pretraining.forecast import PretrainingForecast, forecast_pretraining
from hvit_cli.pretraining.job import PretrainingJob, run_job
from hvit_cli.pretraining.networks import new_backbones
from hvit_cli.pretraining.patch_job import (
    PatchJobRequest,
    patch_job,
    require_probe,
    unseen_patches,
)
from hvit_cli.pretraining.pool import PatchPool, PoolSlide
from hvit_cli.pretraining.records import PretrainingRecord
from hvit_cli.pretraining.region_job import RegionJobRequest, region_job
from hvit_cli.settings import ReadingSettings
from hvit_cli.slides.manifest import SlideEntry, find_slides
from hvit_cli.slides.table import read_slide_ids
from hvit_cli.steps.patch_pool import PoolFinder
from hvit_cli.steps.picture import write_qc_page
from hvit_cli.steps.pretraining_request import PretrainingRequest
from hvit_cli.storage.atomic import require_writable
from hvit_cli.storage.status import StatusRow
from hvit_cli.training.workers import ALONE, Workers, joined_workers

__all__ = [
    "PretrainingRequest",
    "cache_patches",
    "cached_pool",
    "find_patches",
    "foretell",
    "joined_workers",
    "list_slides",
    "pool_of",
    "prepare_patches",
    "prepare_regions",
    "pretrain",
]

STAGE = "tile"
CACHE_STAGE = "cache"


def list_slides(request: PretrainingRequest) -> Sequence[SlideEntry]:
    """The slides that may be learned from.

    Raises:
        ManifestError: The slides cannot be listed.
        LabelError: None of them trains in the fold.
    """
    entries = find_slides(
        request.sources, exclude=request.exclude, mask_pattern=request.tissue.mask_pattern
    )
    wanted = request.training_slides
    if wanted is None:
        return entries
    chosen = [entry for entry in entries if entry.slide_id in wanted]
    if not chosen:
        raise LabelError(
            f"none of these slides trains in fold {request.fold}",
            where=request.folds,
            found=f"{len(entries)} slides, such as {entries[0].slide_id}",
            wanted=f"such as {min(wanted)}",
        )
    return chosen


@dataclass(frozen=True, kw_only=True)
class PoolJob(SlideJob[PoolSlide | None]):
    """Finds the tissue patches of a slide."""

    stage: ClassVar[str] = STAGE

    finder: PoolFinder

    def open(self) -> Step[PoolSlide | None]:
        """Nothing to load."""
        return self._step

    def _step(self, entry: SlideEntry) -> tuple[StatusRow, PoolSlide | None]:
        return self.finder.find(entry, STAGE)


@dataclass(frozen=True, kw_only=True)
class CacheJob(SlideJob[CachedSlide]):
    """Copies the tissue patches of a slide into the cache.

    Attributes:
        slides: The slides whose files are missing, by name.
        remarks: Why each is made again; "" for the first time.
        patch_px: Side of the patches.
        folder: The cache's folder.
    """

    stage: ClassVar[str] = CACHE_STAGE

    slides: dict[str, PoolSlide] = field(repr=False)
    remarks: dict[str, str] = field(repr=False)
    patch_px: int
    folder: Path
    reading: ReadingSettings

    def open(self) -> Step[CachedSlide]:
        """Nothing to load."""
        return self._step

    def _step(self, entry: SlideEntry) -> tuple[StatusRow, CachedSlide]:
        found = cache_slide(
            self.slides[entry.slide_id],
            self.patch_px,
            self.folder,
            self.reading,
            self.remarks[entry.slide_id],
        )
        row = StatusRow(
            slide_id=entry.slide_id,
            path=str(entry.path),
            stage=CACHE_STAGE,
            status="done",
            reason=found.remark,
            n_patches=found.patches,
        )
        return row, found


def find_patches(
    request: PretrainingRequest, entries: Sequence[SlideEntry], workers: Workers = ALONE
) -> Iterator[SlideRecord[PoolSlide | None]]:
    """Finds the tissue patches of slides; processes that train together share the slides.

    Yields:
        A record per slide; its product is None where there is no tissue.
    """
    finder = _finder(request)
    job = PoolJob(work=request.work, finder=finder)
    kept = replace(job, finder=replace(finder, overwrite=False))
    running = request.running
    if workers.count > 1 and not running.jobs:
        # As many as there are companions already work here.
        running = replace(running, jobs=1)
    for folder in (request.work.path, request.folder, request.cache):
        if folder is not None:
            require_writable(folder)
    try:
        yield from with_products(run_slides_job(entries, job, running), kept, entries)
    finally:
        if workers.first:
            with one_at_a_time(request.work, "qc"):
                write_qc_page(request.work)


def pool_of(
    request: PretrainingRequest,
    records: Sequence[SlideRecord[PoolSlide | None]],
    workers: Workers = ALONE,
) -> PatchPool:
    """The patches that were found, by every process that trains.

    They stand in the order of the slides, whichever of them ended first.

    Raises:
        UsageError: None were.
    """
    found = {r.row.slide_id: r.product for r in records if r.product is not None}
    names = [entry.slide_id for entry in list_slides(request)]
    everywhere = workers.add(torch.tensor([float(name in found) for name in names]))
    agreed = (everywhere == workers.count).tolist()
    return _finder(request).pool(
        [found[name] for name, is_known in zip(names, agreed, strict=True) if is_known]
    )


def cache_patches(
    request: PretrainingRequest, pool: PatchPool
) -> Iterator[SlideRecord[CachedSlide]]:
    """Copies patches into the cache where they are missing.

    Yields:
        A record per slide whose file is made.

    Raises:
        RecipeError: The cache was made with other settings or from other slides.
        StorageError: The disk has no room.
    """
    if request.cache is None:
        return
    remarks = missing_files(pool, request.cache, overwrite=request.overwrite)
    missing = {
        slide.slide_id: (slide, remark)
        for slide, remark in zip(pool.slides, remarks, strict=True)
        if remark is not None
    }
    if not missing:
        return
    job = CacheJob(
        work=request.work,
        slides={name: slide for name, (slide, _) in missing.items()},
        remarks={name: remark for name, (_, remark) in missing.items()},
        patch_px=pool.patch_px,
        folder=request.cache,
        reading=request.reading,
    )
    entries = [SlideEntry(slide_id=name, path=slide.path) for name, (slide, _) in missing.items()]
    # Another cache is not this one, whatever other runs on the work folder have copied.
    yield from run_slides_job(entries, job, replace(request.running, claim=False))


def cached_pool(request: PretrainingRequest, pool: PatchPool) -> PatchPool:
    """The pool without the slides that could not be copied into the cache.

    Raises:
        UsageError: None could.
    """
    if request.cache is None:
        return pool
    cache = request.cache
    return _finder(request).pool([s for s in pool.slides if cache_file(cache, s).exists()])


def prepare_patches(
    request: PretrainingRequest, pool: PatchPool, workers: Workers = ALONE
) -> PretrainingJob:
    """A patch encoder's pretraining, checked before it starts.

    Raises:
        HvitError: The settings, the probe's table or an earlier run do not fit.
    """
    return patch_job(
        PatchJobRequest(
            pool=pool,
            out=request.folder,
            name=request.name,
            cache=request.cache,
            reading=request.reading,
            crops=request.crops,
            augmentation=request.augmentation,
            settings=request.settings,
            start_from=request.start_from,
            probe=request.probe,
            probe_settings=request.probe_settings,
            probe_input=request.probe_input,
            note=request.note,
            licence=request.licence,
            threads=request.threads or max((os.cpu_count() or 2) // workers.count - 1, 1),
            device=workers.device(request.device),
            overwrite=request.overwrite,
        ),
        workers,
    )


def prepare_regions(request: PretrainingRequest, workers: Workers = ALONE) -> PretrainingJob:
    """A region Transformer's pretraining, checked before it starts.

    Raises:
        HvitError: The features cannot be used, or an earlier run does not fit.
    """
    if len(request.sources) != 1:
        raise UsageError(
            "the region level is learned from one folder of features",
            found=f"{len(request.sources)} paths",
        )
    return region_job(
        RegionJobRequest(
            features=request.sources[0],
            slides=request.training_slides,
            exclude=() if request.exclude is None else read_slide_ids(request.exclude),
            out=request.folder,
            crops=request.crops,
            augmentation=request.augmentation,
            settings=request.settings,
            note=request.note,
            device=workers.device(request.device),
            overwrite=request.overwrite,
        ),
        workers,
    )


def foretell(
    request: PretrainingRequest,
    patches: int | None = None,
    slides: Collection[str] = (),
) -> PretrainingForecast:
    """What a pretraining would learn from and take; nothing is written.

    Args:
        request: What is asked for.
        patches: Tissue patches of the slides, of the patch level.
        slides: The slides, none of which the probe may judge; those without tissue among them.

    Raises:
        HvitError: The pretraining could not begin.
    """
    settings = request.settings
    if patches is None:
        job = prepare_regions(request)
        return forecast_pretraining(request.folder, settings, job.backbones, len(job.source))
    require_probe(settings, request.probe)
    backbones = new_backbones(settings, request.crops, request.start_from)
    if request.probe is not None:
        before = backbones.initial
        unseen_patches(
            request.probe, {*slides, *(before.pretraining_slides if before is not None else ())}
        )
    return forecast_pretraining(
        request.folder,
        settings,
        backbones,
        patches,
        cached_patch_px=None if request.cache is None else request.tiling.patch_px,
    )


def pretrain(
    job: PretrainingJob,
    watch: Callable[[int], None] | None = None,
    *,
    workers: Workers = ALONE,
) -> Iterator[PretrainingRecord]:
    """Trains, or goes on with a run that was stopped, and writes the folder at the end.

    Args:
        job: From `prepare_patches` or `prepare_regions`.
        watch: Called with the steps of the run that are done.
        workers: The processes that train together; the first writes, all yield.

    Yields:
        A record per epoch.
    """
    yield from run_job(job, watch, workers=workers)


def _finder(request: PretrainingRequest) -> PoolFinder:
    return PoolFinder(
        work=request.work,
        reading=request.reading,
        tissue=request.tissue,
        tiling=request.tiling,
        overwrite=request.overwrite,
    )
