"""The pretraining of a region Transformer: regions of features, network, and what is written."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from torch import nn

from hvit_cli.pretraining.job import PretrainingJob, card_rows
from hvit_cli.pretraining.records import PretrainingRecord
from hvit_cli.pretraining.region_folder import write_region_folder
from hvit_cli.pretraining.region_network import RegionBackbone, region_backbones
from hvit_cli.pretraining.region_source import open_region_source
from hvit_cli.settings import AugmentationSettings, CropSettings, PretrainingSettings, as_recipe
from hvit_cli.storage.recipe import recipe_of
from hvit_cli.training.workers import ALONE, Workers

METHOD = 1
_NO_RESULT = ("save_steps", "checkpointing", "token_px", "network")


@dataclass(frozen=True, kw_only=True)
class RegionJobRequest:
    """What decides the pretraining of a region Transformer; see `PretrainingRequest`."""

    features: Path
    slides: Collection[str] | None
    exclude: Collection[str]
    out: Path
    crops: CropSettings
    augmentation: AugmentationSettings
    settings: PretrainingSettings
    note: str
    device: str
    overwrite: bool


def region_job(request: RegionJobRequest, workers: Workers = ALONE) -> PretrainingJob:
    """Reads the features, and checks everything.

    Raises:
        HvitError: See `open_region_source`.
    """
    settings = request.settings
    source = open_region_source(
        request.features,
        settings,
        workers,
        request.slides,
        exclude=request.exclude,
        crops=request.crops,
        augmentation=request.augmentation,
    )
    header = source.grids.header
    trained = as_recipe(settings)
    recipe = recipe_of(
        settings={
            "method": METHOD,
            "pretraining": {k: v for k, v in trained.items() if k not in _NO_RESULT},
            "crops": {
                "global_crops": request.crops.global_crops,
                "local_crops": request.crops.local_crops,
            },
            "augmentation": {
                "flip": request.augmentation.flip,
                "turns": request.augmentation.turns,
            },
        },
        inputs={
            "regions": len(source),
            "slides": hashlib.sha256("\n".join(source.slides).encode()).hexdigest(),
            "encoder": header.encoder_hash,
            "normalisation": header.normalisation,
            "features": header.recipe.get("settings", {}),
        },
    )

    def write(network: nn.Module, records: Sequence[PretrainingRecord]) -> None:
        notes = [f"{slide} was left out: {why}." for slide, why in source.skipped.items()]
        write_region_folder(
            request.out,
            cast(RegionBackbone, network),
            source,
            recipe=recipe,
            records=card_rows(records),
            notes=[*([request.note] if request.note else []), *notes],
        )

    return PretrainingJob(
        out=request.out,
        title=request.out.resolve().name,
        settings=settings,
        recipe=recipe,
        backbones=region_backbones(settings, source),
        source=source,
        slides=source.slides,
        probe=None,
        write=write,
        device=request.device,
        overwrite=request.overwrite,
    )
