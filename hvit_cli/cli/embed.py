"""`hvit embed`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hvit_cli.cli import console, options
from hvit_cli.cli.patch_bars import PatchBars
from hvit_cli.settings import (
    EmbeddingSettings,
    ReadingSettings,
    RunSettings,
    TilingSettings,
    TissueSettings,
)


def embed(
    slides: options.Slides,
    encoder: options.Encoder = None,
    model: options.Model = None,
    masked: options.Masked = None,
    mask_level: options.MaskLevelKind = None,
    work: options.OutOrWork = options.WORK_DEFAULT,
    exclude: options.Exclude = None,
    folds: Annotated[
        Path | None,
        typer.Option("--folds", help="Table of hvit split: take its slides alone."),
    ] = None,
    part: Annotated[
        str | None,
        typer.Option("--set", help="A test set of --folds, tests for all of them, or folds."),
    ] = None,
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
    normalisation: options.EncoderNormalisation = None,
    encoder_input: options.EncoderInputKind = EmbeddingSettings.encoder_input,
    device: options.Device = EmbeddingSettings.device,
    precision: options.PrecisionKind = EmbeddingSettings.precision,
    batch_size: options.BatchSize = EmbeddingSettings.batch_size,
    jobs: options.Jobs = RunSettings.jobs,
    timeout: options.Timeout = RunSettings.timeout,
    memory_limit: options.MemoryLimit = RunSettings.memory_limit,
    retries: options.Retries = RunSettings.retries,
    retry_failed: options.RetryFailed = RunSettings.retry_failed,
    verify: options.Verify = RunSettings.verify,
    shard: options.ShardOf = RunSettings.shard,
    claim: options.ClaimSlides = RunSettings.claim,
    claim_ttl: options.ClaimTtl = RunSettings.claim_ttl,
    engine: options.EngineKind = RunSettings.engine,
    gpus: options.Gpus = RunSettings.gpus,
    worker_timeout: options.WorkerTimeout = RunSettings.worker_timeout,
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Turn patches into features with a patch encoder; glass is neither read nor embedded."""
    from hvit_cli.pipelines.embed import embed as run
    from hvit_cli.steps.choose import ModelRequest
    from hvit_cli.storage.work import WorkFolder

    reading = ReadingSettings(
        spacing_um=spacing_um,
        spacing_tolerance=spacing_tolerance,
        spacing_override=spacing_override,
        spacing_from_objective=spacing_from_objective,
    )
    tissue = TissueSettings(
        mask_dir=mask_dir,
        mask_pattern=mask_pattern,
        tissue_values=options.tissue_values(tissue_value),
        missing_mask=missing_mask,
        tissue_geojson=tissue_geojson,
        segment_spacing_um=segment_spacing_um,
    )
    tiling = TilingSettings(
        region_px=region_px,
        patch_px=patch_px,
        grid=grid,
        min_tissue_fraction=min_tissue_fraction,
        background_below=background_below,
    )
    if dry_run:
        from hvit_cli.cli.forecasts import say_forecast
        from hvit_cli.pipelines.dry_run import forecast

        told = forecast(
            slides,
            "embed",
            work=WorkFolder(work),
            reading=reading,
            tissue=tissue,
            tiling=tiling,
            request=None if model is None else ModelRequest(model=model, mask_level=mask_level),
            exclude=exclude,
        )
        say_forecast(told, as_json)
        return
    bars = PatchBars()
    records = console.follow(
        run(
            slides,
            work=WorkFolder(work),
            model=model,
            reading=reading,
            tissue=tissue,
            tiling=tiling,
            embedding=EmbeddingSettings(
                encoder=encoder,
                attention=options.attention_of(masked) or EmbeddingSettings.attention,
                mask_level=mask_level,
                normalisation=normalisation,
                encoder_input=encoder_input,
                device=device,
                precision=precision,
                batch_size=batch_size,
            ),
            exclude=exclude,
            folds=folds,
            part=part,
            overwrite=overwrite,
            running=RunSettings(
                jobs=jobs,
                timeout=timeout,
                memory_limit=memory_limit,
                retries=retries,
                retry_failed=retry_failed,
                verify=verify,
                shard=shard,
                claim=claim,
                claim_ttl=claim_ttl,
                engine=engine,
                gpus=gpus,
                worker_timeout=worker_timeout,
            ),
            watch=bars.watch,
        ),
        "embed",
        with_products=False,
        bars=bars,
    )
    if as_json:
        console.say_json([record.row for record in records])
    else:
        console.say_status(records)
    console.finish(records)
