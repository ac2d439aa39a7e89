"""What a pretraining would learn from and take, before its patches are found."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from hvit_cli.pretraining.fit import steps_per_epoch
from hvit_cli.pretraining.networks import Backbones
from hvit_cli.pretraining.records import read_metrics
from hvit_cli.settings import PretrainingSettings

_WEIGHT_BYTES = 4
# Student and teacher, two moments of the optimiser, and the weights that are kept.
_STATE_COPIES = 5


@dataclass(frozen=True, kw_only=True)
class PretrainingForecast:
    """What a pretraining would do.

    Attributes:
        samples: Patches or regions to learn from.
        parameters: Weights of the network that is kept.
        epochs: Most epochs.
        steps_per_epoch: Steps of an epoch.
        seconds: Time of all epochs at the rate of an earlier run in the same folder; None where
            there was none.
        cache_bytes: Disk that the cache of all patches takes; 0 without a cache.
        disk_bytes: Disk that the encoder and the state of the run take.
        free_bytes: Free disk where the encoder folder lies, or would lie.
    """

    samples: int
    parameters: int
    epochs: int
    steps_per_epoch: int
    seconds: float | None
    cache_bytes: int
    disk_bytes: int
    free_bytes: int


def forecast_pretraining(
    out: Path,
    settings: PretrainingSettings,
    backbones: Backbones,
    samples: int,
    *,
    cached_patch_px: int | None = None,
) -> PretrainingForecast:
    """Says what a pretraining would take; nothing is written.

    Args:
        out: The encoder folder.
        settings: Network and training.
        backbones: The networks.
        samples: Patches or regions to learn from.
        cached_patch_px: Side of the patches of a cache; None without one.

    Raises:
        UsageError: There are fewer samples than a batch takes.
    """
    steps = steps_per_epoch(settings, samples)
    parameters = sum(weights.numel() for weights in backbones.teacher.parameters())
    metrics = out / "metrics.csv"
    records = read_metrics(metrics) if metrics.is_file() else []
    rate = records[-1].patches_per_s if records else None
    place = out.absolute()
    while not place.is_dir():
        place = place.parent
    return PretrainingForecast(
        samples=samples,
        parameters=parameters,
        epochs=settings.epochs,
        steps_per_epoch=steps,
        seconds=settings.epochs * steps * settings.batch / rate if rate else None,
        cache_bytes=0 if cached_patch_px is None else samples * 3 * cached_patch_px**2,
        disk_bytes=parameters * _WEIGHT_BYTES * (1 + _STATE_COPIES),
        free_bytes=shutil.disk_usage(place).free,
    )
