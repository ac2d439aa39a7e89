"""Batches of crops of regions, each a function of the seed and the number of its step."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hvit_cli.pretraining.region_crops import DRAWS, crop_sides, cut_crops, take_regions
from hvit_cli.pretraining.region_grids import RegionGrids, read_region_grids
from hvit_cli.pretraining.views import CropBatch
from hvit_cli.settings import AugmentationSettings, CropSettings, PretrainingSettings
from hvit_cli.training.bags import read_ahead
from hvit_cli.training.workers import ALONE, Workers

_ORDER, _CROPS = 1, 2
_AHEAD = 2


class RegionSource:
    """A pool of regions; shuffled passes over all of them follow each other without a gap.

    Args:
        grids: The regions.
        settings: Batch and seed.
        workers: The processes that train together; each cuts its share of a batch.
        crops: How many large and small crops; their size is that of the region's grid.
        augmentation: How crops are mirrored and turned; colours do not matter here.
    """

    def __init__(
        self,
        grids: RegionGrids,
        settings: PretrainingSettings,
        workers: Workers = ALONE,
        *,
        crops: CropSettings | None = None,
        augmentation: AugmentationSettings | None = None,
    ) -> None:
        self.grids = grids
        self._settings = settings
        self._workers = workers
        self._crops = crops or CropSettings()
        self._augmentation = augmentation or AugmentationSettings()

    def __len__(self) -> int:
        return len(self.grids)

    @property
    def slides(self) -> tuple[str, ...]:
        """Slides whose regions are learned from."""
        return self.grids.slides

    @property
    def skipped(self) -> Mapping[str, str]:
        """Slides that could not be read or have nothing to learn from, and why."""
        return self.grids.skipped

    def batches(self, steps: range) -> Iterator[CropBatch]:
        """Yields this process's share of the batch of each step."""
        return read_ahead(self._batch, steps, _AHEAD)

    def close(self) -> None:
        """Nothing is held that outlives the object."""

    def regions(self, step: int) -> npt.NDArray[np.int64]:
        """(batch,) which regions all processes together see in a step."""
        count = len(self.grids)
        places = np.arange(step * self._settings.batch, (step + 1) * self._settings.batch)
        passes, place = places // count, places % count
        drawn = np.empty(len(places), np.int64)
        for number in np.unique(passes):
            order = np.random.default_rng([self._settings.seed, _ORDER, int(number)])
            drawn[passes == number] = order.permutation(count)[place[passes == number]]
        return drawn

    def _batch(self, step: int) -> CropBatch:
        crops = self._crops
        counts = (crops.global_crops, crops.local_crops)
        # Drawn for the whole batch, so that a region's crops do not depend on how many
        # processes share it.
        draws = np.random.default_rng([self._settings.seed, _CROPS, step]).random(
            (sum(counts), self._settings.batch, DRAWS)
        )
        mine = np.array(self._workers.share(range(self._settings.batch)), np.int64)
        batch = take_regions(self.grids, self.regions(step)[mine])
        views = tuple(
            cut_crops(batch, side, part[:, mine], self._augmentation)
            for side, part in zip(
                crop_sides(self.grids.side), np.split(draws, [counts[0]]), strict=True
            )
            if len(part)
        )
        return CropBatch(views=views, counts=counts[: len(views)], size=len(mine))


def open_region_source(
    features: Path,
    settings: PretrainingSettings,
    workers: Workers = ALONE,
    slides: Collection[str] | None = None,
    *,
    exclude: Collection[str] = (),
    crops: CropSettings | None = None,
    augmentation: AugmentationSettings | None = None,
) -> RegionSource:
    """Reads a folder of features as a pool of regions.

    Args:
        features: Folder of feature files, or a work folder with one such folder.
        settings: Batch and seed.
        workers: The processes that train together.
        slides: The slides to learn from; None takes all.
        exclude: Slides to leave out of these.
        crops: As in `RegionSource`.
        augmentation: As in `RegionSource`.

    Raises:
        UsageError: No, or several, folders of features could be meant.
        RecipeError: Features of different making are mixed.
        ModelError: No region has tissue.
    """
    grids = read_region_grids(features, slides, exclude=exclude)
    return RegionSource(grids, settings, workers, crops=crops, augmentation=augmentation)
