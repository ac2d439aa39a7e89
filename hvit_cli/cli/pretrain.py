"""`hvit pretrain`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from hvit_cli.cli import options, pretrainings
from hvit_cli.settings import (
    AugmentationSettings,
    CropSettings,
    EmbeddingSettings,
    EncoderInput,
    Level,
    Precision,
    PretrainingSettings,
    ProbeSettings,
    ReadingSettings,
    RunSettings,
    TilingSettings,
    TissueSettings,
    sentence,
    sizes_of,
)

_SLIDES, _CROPS, _COLOURS = "Slides", "Crops", "Colours and turns"
_NETWORK, _TRAINING, _WATCH, _RESULT = "Network", "Training", "Watching", "Encoder folder"
_Pair = tuple[float, float]


def _set(field: str, panel: str, kind: type = PretrainingSettings, name: str | None = None) -> Any:
    return typer.Option(
        name or "--" + field.replace("_", "-"), help=sentence(kind, field), rich_help_panel=panel
    )


def _crop(field: str) -> Any:
    return _set(field, _CROPS, CropSettings)


def _colour(field: str, name: str | None = None) -> Any:
    return _set(field, _COLOURS, AugmentationSettings, name)


def _size(field: str) -> Any:
    patch, region = (sizes_of(level)[field] for level in ("patch", "region"))
    return typer.Option(
        f"--{field}",
        help=f"{sentence(PretrainingSettings, field)} {patch}, or {region} for regions, if unset.",
        rich_help_panel=_NETWORK,
    )


def _named(name: str, text: str, panel: str) -> Any:
    return typer.Option(name, help=text, rich_help_panel=panel)


def pretrain(
    sources: Annotated[
        list[Path],
        typer.Argument(
            help="Slides, folders of slides or a manifest; for --level region the folder of their "
            "features.",
            show_default=False,
        ),
    ],
    level: Annotated[Level, _set("level", _TRAINING)] = PretrainingSettings.level,
    work: options.Work = options.WORK_DEFAULT,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            help="Encoder folder; encoders/<name> in the work folder by default.",
            rich_help_panel=_RESULT,
        ),
    ] = None,
    exclude: options.Exclude = None,
    folds: Annotated[
        Path | None,
        _named("--folds", "Table of folds and test sets from hvit split.", _SLIDES),
    ] = None,
    fold: Annotated[
        int | None,
        _named("--fold", "Learn from the training slides of this fold alone.", _SLIDES),
    ] = None,
    cache: Annotated[
        Path | None,
        _named(
            "--cache", "Folder on a local disk for decoded patches; slides are read once.", _SLIDES
        ),
    ] = None,
    global_crops: Annotated[int, _crop("global_crops")] = CropSettings.global_crops,
    global_px: Annotated[int, _crop("global_px")] = CropSettings.global_px,
    global_scale: Annotated[_Pair, _crop("global_scale")] = CropSettings.global_scale,
    local_crops: Annotated[int, _crop("local_crops")] = CropSettings.local_crops,
    local_px: Annotated[int, _crop("local_px")] = CropSettings.local_px,
    local_scale: Annotated[_Pair, _crop("local_scale")] = CropSettings.local_scale,
    brightness: Annotated[float, _colour("brightness")] = AugmentationSettings.brightness,
    contrast: Annotated[float, _colour("contrast")] = AugmentationSettings.contrast,
    saturation: Annotated[float, _colour("saturation")] = AugmentationSettings.saturation,
    hue: Annotated[float, _colour("hue")] = AugmentationSettings.hue,
    jitter_probability: Annotated[
        float, _colour("jitter_probability")
    ] = AugmentationSettings.jitter_probability,
    grey_probability: Annotated[
        float, _colour("grey_probability")
    ] = AugmentationSettings.grey_probability,
    blur_probability: Annotated[
        tuple[float, float, float], _colour("blur_probability")
    ] = AugmentationSettings.blur_probability,
    solarize_probability: Annotated[
        float, _colour("solarize_probability")
    ] = AugmentationSettings.solarize_probability,
    turns: Annotated[bool, _colour("turns", "--turns/--no-turns")] = AugmentationSettings.turns,
    stain_probability: Annotated[
        float, _colour("stain_probability")
    ] = AugmentationSettings.stain_probability,
    stain_jitter: Annotated[float, _colour("stain_jitter")] = AugmentationSettings.stain_jitter,
    width: Annotated[int | None, _size("width")] = None,
    depth: Annotated[int | None, _size("depth")] = None,
    heads: Annotated[int | None, _size("heads")] = None,
    token_px: Annotated[int, _set("token_px", _NETWORK)] = PretrainingSettings.token_px,
    network: Annotated[str | None, _set("network", _NETWORK)] = PretrainingSettings.network,
    start_from: Annotated[
        str | None,
        _named("--start-from", "Encoder whose weights to begin with, instead of fresh.", _NETWORK),
    ] = None,
    out_dim: Annotated[int, _set("out_dim", _NETWORK)] = PretrainingSettings.out_dim,
    head_hidden: Annotated[int, _set("head_hidden", _NETWORK)] = PretrainingSettings.head_hidden,
    head_bottleneck: Annotated[
        int, _set("head_bottleneck", _NETWORK)
    ] = PretrainingSettings.head_bottleneck,
    head_layers: Annotated[int, _set("head_layers", _NETWORK)] = PretrainingSettings.head_layers,
    norm_last_layer: Annotated[
        bool, _set("norm_last_layer", _NETWORK, name="--norm-last-layer/--free-last-layer")
    ] = PretrainingSettings.norm_last_layer,
    drop_path: Annotated[float, _set("drop_path", _NETWORK)] = PretrainingSettings.drop_path,
    epochs: Annotated[int, _set("epochs", _TRAINING)] = PretrainingSettings.epochs,
    batch: Annotated[int, _set("batch", _TRAINING)] = PretrainingSettings.batch,
    patches_per_epoch: Annotated[
        int | None, _set("patches_per_epoch", _TRAINING)
    ] = PretrainingSettings.patches_per_epoch,
    learning_rate: Annotated[
        float, _set("learning_rate", _TRAINING)
    ] = PretrainingSettings.learning_rate,
    min_learning_rate: Annotated[
        float, _set("min_learning_rate", _TRAINING)
    ] = PretrainingSettings.min_learning_rate,
    warmup_epochs: Annotated[
        int, _set("warmup_epochs", _TRAINING)
    ] = PretrainingSettings.warmup_epochs,
    weight_decay: Annotated[
        float, _set("weight_decay", _TRAINING)
    ] = PretrainingSettings.weight_decay,
    weight_decay_end: Annotated[
        float, _set("weight_decay_end", _TRAINING)
    ] = PretrainingSettings.weight_decay_end,
    clip: Annotated[float, _set("clip", _TRAINING)] = PretrainingSettings.clip,
    freeze_last_layer_epochs: Annotated[
        int, _set("freeze_last_layer_epochs", _TRAINING)
    ] = PretrainingSettings.freeze_last_layer_epochs,
    student_temperature: Annotated[
        float, _set("student_temperature", _TRAINING)
    ] = PretrainingSettings.student_temperature,
    teacher_temperature: Annotated[
        float, _set("teacher_temperature", _TRAINING)
    ] = PretrainingSettings.teacher_temperature,
    warmup_teacher_temperature: Annotated[
        float, _set("warmup_teacher_temperature", _TRAINING)
    ] = PretrainingSettings.warmup_teacher_temperature,
    warmup_teacher_epochs: Annotated[
        int, _set("warmup_teacher_epochs", _TRAINING)
    ] = PretrainingSettings.warmup_teacher_epochs,
    centre_momentum: Annotated[
        float, _set("centre_momentum", _TRAINING)
    ] = PretrainingSettings.centre_momentum,
    teacher_momentum: Annotated[
        float, _set("teacher_momentum", _TRAINING)
    ] = PretrainingSettings.teacher_momentum,
    precision: Annotated[Precision, _set("precision", _TRAINING)] = PretrainingSettings.precision,
    checkpointing: Annotated[
        bool, _set("checkpointing", _TRAINING)
    ] = PretrainingSettings.checkpointing,
    save_steps: Annotated[int, _set("save_steps", _TRAINING)] = PretrainingSettings.save_steps,
    probe: Annotated[
        Path | None,
        _named(
            "--probe", "Table of labelled patches that judge the features as they grow.", _WATCH
        ),
    ] = None,
    neighbours: Annotated[
        int, _set("neighbours", _WATCH, ProbeSettings)
    ] = ProbeSettings.neighbours,
    temperature: Annotated[
        float, _set("temperature", _WATCH, ProbeSettings)
    ] = ProbeSettings.temperature,
    encoder_input: Annotated[
        EncoderInput,
        _named(
            "--encoder-input",
            "Give the encoder the probe's patches as they are (native), resized to the size of "
            "its large crops, or auto.",
            _WATCH,
        ),
    ] = EmbeddingSettings.encoder_input,
    probe_every: Annotated[int, _set("probe_every", _WATCH)] = PretrainingSettings.probe_every,
    patience: Annotated[int | None, _set("patience", _WATCH)] = PretrainingSettings.patience,
    name: Annotated[
        str | None, _named("--name", "Name of the encoder; of its folder by default.", _RESULT)
    ] = None,
    licence: Annotated[str, _named("--licence", "Licence of the weights.", _RESULT)] = "",
    note: Annotated[
        str, _named("--note", "Sentence for the card, such as where the slides come from.", _RESULT)
    ] = "",
    region_px: options.RegionPx = TilingSettings.region_px,
    patch_px: options.PatchPx = TilingSettings.patch_px,
    grid: options.GridKind = TilingSettings.grid,
    min_tissue_fraction: options.MinTissueFraction = TilingSettings.min_tissue_fraction,
    background_below: options.BackgroundBelow = TilingSettings.background_below,
    spacing_um: options.SpacingUm = ReadingSettings.spacing_um,
    spacing_tolerance: options.SpacingTolerance = ReadingSettings.spacing_tolerance,
    spacing_override: options.SpacingOverride = None,
    spacing_from_objective: options.SpacingFromObjective = False,
    mask_dir: options.MaskDir = None,
    mask_pattern: options.MaskPattern = TissueSettings.mask_pattern,
    tissue_value: options.TissueValue = options.TISSUE_VALUE_DEFAULT,
    missing_mask: options.Missing = TissueSettings.missing_mask,
    tissue_geojson: options.TissueGeojson = None,
    segment_spacing_um: options.SegmentSpacing = TissueSettings.segment_spacing_um,
    threads: Annotated[
        int | None,
        typer.Option(
            "--threads",
            min=1,
            help="Threads that read and crop patches; one fewer than cores by default.",
            rich_help_panel="Running",
        ),
    ] = None,
    jobs: options.Jobs = RunSettings.jobs,
    timeout: options.Timeout = RunSettings.timeout,
    memory_limit: options.MemoryLimit = RunSettings.memory_limit,
    retries: options.Retries = RunSettings.retries,
    retry_failed: options.RetryFailed = RunSettings.retry_failed,
    claim: options.ClaimSlides = RunSettings.claim,
    claim_ttl: options.ClaimTtl = RunSettings.claim_ttl,
    device: options.Device = EmbeddingSettings.device,
    seed: options.Seed = PretrainingSettings.seed,
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Train a patch encoder (or region Transformer) without labels; stopped runs go on."""
    from hvit_cli.pipelines.pretrain import PretrainingRequest, joined_workers
    from hvit_cli.storage.work import WorkFolder

    with joined_workers() as workers:
        pretrainings.run(
            PretrainingRequest(
                sources=tuple(sources),
                work=WorkFolder(work),
                out=out,
                name=name,
                exclude=exclude,
                folds=folds,
                fold=fold,
                cache=cache,
                reading=ReadingSettings(
                    spacing_um=spacing_um,
                    spacing_tolerance=spacing_tolerance,
                    spacing_override=spacing_override,
                    spacing_from_objective=spacing_from_objective,
                ),
                tissue=TissueSettings(
                    mask_dir=mask_dir,
                    mask_pattern=mask_pattern,
                    tissue_values=options.tissue_values(tissue_value),
                    missing_mask=missing_mask,
                    tissue_geojson=tissue_geojson,
                    segment_spacing_um=segment_spacing_um,
                ),
                tiling=TilingSettings(
                    region_px=region_px,
                    patch_px=patch_px,
                    grid=grid,
                    min_tissue_fraction=min_tissue_fraction,
                    background_below=background_below,
                ),
                crops=CropSettings(
                    global_crops=global_crops,
                    global_px=global_px,
                    global_scale=global_scale,
                    local_crops=local_crops,
                    local_px=local_px,
                    local_scale=local_scale,
                ),
                augmentation=AugmentationSettings(
                    brightness=brightness,
                    contrast=contrast,
                    saturation=saturation,
                    hue=hue,
                    jitter_probability=jitter_probability,
                    grey_probability=grey_probability,
                    blur_probability=blur_probability,
                    solarize_probability=solarize_probability,
                    turns=turns,
                    stain_probability=stain_probability,
                    stain_jitter=stain_jitter,
                ),
                settings=PretrainingSettings(
                    level=level,
                    **sizes_of(level, width=width, depth=depth, heads=heads),
                    token_px=token_px,
                    network=network,
                    out_dim=out_dim,
                    head_hidden=head_hidden,
                    head_bottleneck=head_bottleneck,
                    head_layers=head_layers,
                    norm_last_layer=norm_last_layer,
                    epochs=epochs,
                    batch=batch,
                    patches_per_epoch=patches_per_epoch,
                    learning_rate=learning_rate,
                    min_learning_rate=min_learning_rate,
                    warmup_epochs=warmup_epochs,
                    weight_decay=weight_decay,
                    weight_decay_end=weight_decay_end,
                    clip=clip,
                    freeze_last_layer_epochs=freeze_last_layer_epochs,
                    drop_path=drop_path,
                    student_temperature=student_temperature,
                    teacher_temperature=teacher_temperature,
                    warmup_teacher_temperature=warmup_teacher_temperature,
                    warmup_teacher_epochs=warmup_teacher_epochs,
                    centre_momentum=centre_momentum,
                    teacher_momentum=teacher_momentum,
                    precision=precision,
                    checkpointing=checkpointing,
                    patience=patience,
                    probe_every=probe_every,
                    save_steps=save_steps,
                    seed=seed,
                ),
                start_from=start_from,
                probe=probe,
                probe_settings=ProbeSettings(neighbours=neighbours, temperature=temperature),
                probe_input=encoder_input,
                note=note,
                licence=licence,
                threads=threads,
                device=device,
                overwrite=overwrite,
                running=RunSettings(
                    jobs=jobs,
                    timeout=timeout,
                    memory_limit=memory_limit,
                    retries=retries,
                    retry_failed=retry_failed,
                    claim=claim,
                    claim_ttl=claim_ttl,
                ),
            ),
            workers,
            as_json,
            dry_run=dry_run,
        )
