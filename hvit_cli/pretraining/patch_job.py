"""The pretraining of a patch encoder: pool, crops, network, probe and what is written."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from hvit_cli.errors import LabelError, UsageError
from hvit_cli.models.device import choose_device, choose_precision
from hvit_cli.models.encoder_specs import IMAGENET_MEAN, IMAGENET_STD, EncoderSpec
from hvit_cli.models.encoders import hash_weights
from hvit_cli.models.vit import VisionTransformer
from hvit_cli.pretraining.augment import Augmentation
from hvit_cli.pretraining.cache import CachedPatches
from hvit_cli.pretraining.encoder_folder import write_encoder_folder
from hvit_cli.pretraining.fit import Probe as ProbeFunction
from hvit_cli.pretraining.job import PretrainingJob, card_rows
from hvit_cli.pretraining.labelled_patches import (
    PatchTable,
    read_labelled_patches,
    read_patch_table,
)
from hvit_cli.pretraining.loader import PatchLoader
from hvit_cli.pretraining.networks import Backbones, new_backbones
from hvit_cli.pretraining.order import WINDOW, PatchOrder
from hvit_cli.pretraining.patches import SlidePatches
from hvit_cli.pretraining.pool import PatchPool
from hvit_cli.pretraining.probe import Probe
from hvit_cli.pretraining.records import PretrainingRecord
from hvit_cli.settings import (
    AugmentationSettings,
    CropSettings,
    EncoderInput,
    PretrainingSettings,
    ProbeSettings,
    ReadingSettings,
    as_recipe,
)
from hvit_cli.storage.recipe import Recipe, recipe_of, recipe_text
from hvit_cli.training.workers import ALONE, Workers

METHOD = 1
# Settings that change when a run is saved, or how its arithmetic is laid out, not its result.
_NO_RESULT = ("save_steps", "checkpointing")


@dataclass(frozen=True, kw_only=True)
class PatchJobRequest:
    """What decides the pretraining of a patch encoder; see `PretrainingRequest`."""

    pool: PatchPool
    out: Path
    name: str | None
    cache: Path | None
    reading: ReadingSettings
    crops: CropSettings
    augmentation: AugmentationSettings
    settings: PretrainingSettings
    start_from: str | None
    probe: Path | None
    probe_settings: ProbeSettings
    probe_input: EncoderInput
    note: str
    licence: str
    threads: int
    device: str
    overwrite: bool


def patch_job(request: PatchJobRequest, workers: Workers = ALONE) -> PretrainingJob:
    """Checks everything, and opens what the run reads from.

    Raises:
        UsageError: There are fewer patches than a batch takes, or patience has no probe.
        LabelError: The probe's table cannot be used, or judges slides that are learned from.
        ModelError: The network cannot be pretrained.
        RecipeError: The cache is another run's.
    """
    require_probe(request.settings, request.probe)
    backbones = new_backbones(request.settings, request.crops, request.start_from)
    mean, std = (
        (IMAGENET_MEAN, IMAGENET_STD)
        if backbones.initial is None
        else (backbones.initial.mean, backbones.initial.std)
    )
    spec = _spec(request, backbones, (mean, std))
    probe = None if request.probe is None else _probe(request, spec)
    recipe = _recipe(request, backbones, (mean, std))
    pool, settings = request.pool, request.settings
    cached = request.cache is not None
    reader = (
        CachedPatches(pool, request.cache, request.reading)
        if request.cache is not None
        else SlidePatches(pool, request.reading)
    )
    loader = PatchLoader(
        reader,
        PatchOrder(pool.first, settings.seed, None if cached else WINDOW),
        Augmentation(
            crops=request.crops,
            changes=request.augmentation,
            patch_px=pool.patch_px,
            mean=mean,
            std=std,
            seed=settings.seed,
        ),
        batch=settings.batch,
        workers=workers,
        threads=request.threads,
    )

    def write(network: nn.Module, records: Sequence[PretrainingRecord]) -> None:
        skipped = [f"{slide}: {why}" for slide, why in loader.skipped.items()]
        notes = [*backbones.notes, *([request.note] if request.note else [])]
        if skipped:
            notes.append(f"Slides that could not be read throughout: {'; '.join(skipped)}.")
        write_encoder_folder(
            request.out, network, spec, recipe=recipe, records=card_rows(records), notes=notes
        )

    return PretrainingJob(
        out=request.out,
        title=spec.name,
        settings=settings,
        recipe=recipe,
        backbones=backbones,
        source=loader,
        slides=spec.pretraining_slides,
        probe=probe,
        write=write,
        device=request.device,
        overwrite=request.overwrite,
        notes=backbones.notes,
    )


def _spec(
    request: PatchJobRequest,
    backbones: Backbones,
    normalisation: tuple[tuple[float, float, float], tuple[float, float, float]],
) -> EncoderSpec:
    network: Any = backbones.teacher
    if isinstance(network, VisionTransformer):
        input_px, token_px = network.shape.input_px, network.shape.token_px
    else:
        input_px = int(network.patch_embed.img_size[0])
        token_px = int(network.patch_embed.patch_size[0])
    before = backbones.initial
    slides = {slide.slide_id for slide in request.pool.slides}
    return EncoderSpec(
        name=request.name or request.out.resolve().name,
        width=backbones.width,
        input_px=input_px,
        token_px=token_px,
        spacing_um=request.reading.spacing_um,
        mean=normalisation[0],
        std=normalisation[1],
        licence=request.licence,
        pretraining=f"DINO, {request.settings.epochs} epochs, {len(request.pool)} tissue patches "
        f"of {len(slides)} slides" + (f"; started from {before.name}" if before else ""),
        # Whoever starts from an encoder has learned from its slides, too.
        pretraining_slides=tuple(sorted(slides | set(before.pretraining_slides if before else ()))),
    )


def require_probe(settings: PretrainingSettings, probe: Path | None) -> None:
    """Refuses patience where nothing says what is better.

    Raises:
        UsageError: There is no probe to be patient with.
    """
    if settings.patience is not None and probe is None:
        raise UsageError(
            "patience needs a probe that says what is better", where="--patience", hint="--probe"
        )


def unseen_patches(probe: Path, learned_from: Collection[str]) -> PatchTable:
    """The table of a probe, which must not judge what is learned from.

    Raises:
        LabelError: The table cannot be used, or judges slides that are learned from.
    """
    table = read_patch_table(probe)
    both = sorted(table.judged_slides & set(learned_from))
    if both:
        raise LabelError(
            "the probe judges slides that the encoder learns from",
            where=probe,
            found=", ".join(both[:3]) + (", …" if len(both) > 3 else ""),
            hint="other slides in the table, or --exclude with these",
        )
    return table


def _probe(request: PatchJobRequest, spec: EncoderSpec) -> ProbeFunction:
    assert request.probe is not None
    table = unseen_patches(request.probe, spec.pretraining_slides)
    patches = read_labelled_patches(table, request.reading, patch_px=request.pool.patch_px)
    precision = choose_precision(request.settings.precision, choose_device(request.device))
    probe = Probe(
        patches,
        spec,
        request.probe_settings,
        precision=precision,
        encoder_input=request.probe_input,
    )
    return lambda backbone: probe.score(backbone).balanced_accuracy


def _recipe(
    request: PatchJobRequest,
    backbones: Backbones,
    normalisation: tuple[tuple[float, float, float], tuple[float, float, float]],
) -> Recipe:
    trained = as_recipe(request.settings)
    digest = hashlib.sha256()
    for slide in request.pool.slides:
        digest.update(f"{slide.slide_id}\n{recipe_text(slide.recipe)}\n".encode())
    return recipe_of(
        settings={
            "method": METHOD,
            "pretraining": {k: v for k, v in trained.items() if k not in _NO_RESULT},
            "crops": as_recipe(request.crops),
            "augmentation": as_recipe(request.augmentation),
            "probe": _voting(request) if request.probe else None,
            "normalisation": normalisation,
            "spacing_um": request.reading.spacing_um,
            "patch_px": request.pool.patch_px,
            # With a cache the patches of all slides are mixed, otherwise those of a window.
            "window": None if request.cache is not None else WINDOW,
        },
        inputs={
            "patches": len(request.pool),
            "slides": len(request.pool.slides),
            "pool": digest.hexdigest(),
            "start": hash_weights(backbones.teacher.state_dict()) if request.start_from else None,
            "probe": hashlib.sha256(request.probe.read_bytes()).hexdigest()
            if request.probe
            else None,
        },
    )


def _voting(request: PatchJobRequest) -> dict[str, Any]:
    voting = as_recipe(request.probe_settings)
    # Not named where nothing was asked, as in runs from before it could be.
    return voting if request.probe_input == "auto" else {**voting, "input": request.probe_input}
