"""`hvit pretrain`: slides (or features of their patches) to an encoder that was taught no label.

Two levels share everything but what is read: patches of slides make a patch encoder, regions
of features make a region Transformer.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hvit_cli.engine.run import SlideRecord, run_slides
from hvit_cli.errors import LabelError, UsageError
from hvit_cli.pretraining.cache import CachedSlide, build_cache
from hvit_cli.pretraining.job import PretrainingJob, run_job
from hvit_cli.pretraining.patch_job import PatchJobRequest, patch_job
from hvit_cli.pretraining.pool import PatchPool, PoolSlide
from hvit_cli.pretraining.records import PretrainingRecord
from hvit_cli.pretraining.region_job import RegionJobRequest, region_job
from hvit_cli.settings import (
    AugmentationSettings,
    CropSettings,
    EmbeddingSettings,
    PretrainingSettings,
    ProbeSettings,
    ReadingSettings,
    TilingSettings,
    TissueSettings,
)
from hvit_cli.slides.manifest import SlideEntry, find_slides
from hvit_cli.slides.table import read_slide_ids
from hvit_cli.steps.patch_pool import PoolFinder
from hvit_cli.steps.picture import write_qc_page
from hvit_cli.storage.status import StatusRow
from hvit_cli.storage.work import WorkFolder
from hvit_cli.training.fold_table import read_folds
from hvit_cli.training.workers import ALONE, Workers, joined_workers

__all__ = [
    "PretrainingRequest",
    "cache_patches",
    "find_patches",
    "joined_workers",
    "list_slides",
    "pool_of",
    "prepare_patches",
    "prepare_regions",
    "pretrain",
]

STAGE = "tile"


@dataclass(frozen=True, kw_only=True)
class PretrainingRequest:
    """What is to be pretrained.

    Attributes:
        sources: Slides, folders, manifests; one folder of features for the region level.
        work: The work folder.
        out: The encoder folder; `encoders/<name>` in the work folder by default.
        name: The encoder's name; that of its folder by default.
        exclude: Table of slides to leave out.
        folds: Table of folds.
        fold: Learn from the training slides of this fold alone.
        cache: Folder of decoded patches; None reads from the slides throughout.
        reading: The spacing at which patches are read, and where the slides' own comes from.
        tissue: How tissue is found.
        tiling: Regions and patches.
        crops: Which parts of a patch are cut out.
        augmentation: How they are altered.
        settings: Network and training.
        start_from: Encoder whose weights to begin with.
        probe: Table of labelled patches.
        probe_settings: How the probe votes.
        note: Sentence for the card.
        licence: Licence of the weights.
        threads: Threads that read and crop; None takes one fewer than there are cores.
        device: auto, cpu, cuda, …
        overwrite: Start anew where another run's files lie.
    """

    sources: tuple[Path, ...]
    work: WorkFolder
    out: Path | None = None
    name: str | None = None
    exclude: Path | None = None
    folds: Path | None = None
    fold: int | None = None
    cache: Path | None = None
    reading: ReadingSettings = field(default_factory=ReadingSettings)
    tissue: TissueSettings = field(default_factory=TissueSettings)
    tiling: TilingSettings = field(default_factory=TilingSettings)
    crops: CropSettings = field(default_factory=CropSettings)
    augmentation: AugmentationSettings = field(default_factory=AugmentationSettings)
    settings: PretrainingSettings = field(default_factory=PretrainingSettings)
    start_from: str | None = None
    probe: Path | None = None
    probe_settings: ProbeSettings = field(default_factory=ProbeSettings)
    note: str = ""
    licence: str = ""
    threads: int | None = None
    device: str = EmbeddingSettings.device
    overwrite: bool = False

    def __post_init__(self) -> None:
        if (self.folds is None) != (self.fold is None):
            raise UsageError(
                "a fold and the table that it is of are given together",
                where="--folds and --fold",
                found="one of them",
                hint="--folds folds.csv --fold 0, a pretraining for each fold",
            )
        if self.settings.level == "region":
            self._refuse_what_features_have_decided()

    def _refuse_what_features_have_decided(self) -> None:
        given = {
            "--probe": self.probe,
            "--cache": self.cache,
            "--start-from": self.start_from,
            "--network": self.settings.network,
            "--name": self.name,
            "--licence": self.licence or None,
            "--threads": self.threads,
            "how slides are read": None if self.reading == ReadingSettings() else self.reading,
            "how tissue is found": None if self.tissue == TissueSettings() else self.tissue,
            "regions and patches": None if self.tiling == TilingSettings() else self.tiling,
        }
        for what, value in given.items():
            if value is not None:
                raise UsageError(
                    "the region level is learned from features, not from pixels",
                    where=what,
                    found=value if what.startswith("--") else "options for it",
                    hint=f"without {what if what.startswith('--') else 'them'}, or --level patch",
                )

    @property
    def folder(self) -> Path:
        """Where the result goes."""
        default = self.settings.level if self.fold is None else f"{self.settings.level}-{self.fold}"
        return self.out or self.work.encoders / default

    @property
    def training_slides(self) -> frozenset[str] | None:
        """The training slides of the fold; None where every slide may be learned from.

        Raises:
            LabelError: There is no such fold.
        """
        if self.folds is None or self.fold is None:
            return None
        return frozenset(read_folds(self.folds).fold(self.fold).train)


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


def find_patches(
    request: PretrainingRequest, entries: Sequence[SlideEntry], workers: Workers = ALONE
) -> Iterator[SlideRecord[PoolSlide | None]]:
    """Finds the tissue patches of slides; each process makes its share of the missing regions.

    Yields:
        A record per slide; its product is None where there is no tissue.
    """
    finder = _finder(request)

    def step(entry: SlideEntry) -> tuple[StatusRow, PoolSlide | None]:
        return finder.find(entry, STAGE)

    if workers.count > 1:
        # What every process will read in a moment, each makes a part of.
        list(run_slides(workers.share(entries), step, stage=STAGE, work=request.work))
        workers.wait()
    try:
        yield from run_slides(entries, step, stage=STAGE, work=request.work)
    finally:
        if workers.first:
            write_qc_page(request.work)


def pool_of(
    request: PretrainingRequest, records: Sequence[SlideRecord[PoolSlide | None]]
) -> PatchPool:
    """The patches that were found.

    Raises:
        UsageError: None were.
    """
    found = [record.product for record in records if record.product is not None]
    return _finder(request).pool(found)


def cache_patches(request: PretrainingRequest, pool: PatchPool) -> Iterator[CachedSlide]:
    """Copies patches into the cache where they are missing.

    Raises:
        RecipeError: The cache was made with other settings or from other slides.
        StorageError: The disk has no room.
    """
    if request.cache is not None:
        yield from build_cache(pool, request.cache, request.reading, overwrite=request.overwrite)


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
