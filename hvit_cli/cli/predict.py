"""`hvit predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

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


def predict(
    slides: options.SlidesOrFeatures,
    masked: options.Masked = None,
    mask_level: options.MaskLevelKind = None,
    model: options.Model = None,
    work: options.Work = options.WORK_DEFAULT,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o", "--out", help="Table of results, predictions.csv in the work folder by default."
        ),
    ] = None,
    exclude: options.Exclude = None,
    folds: Annotated[
        Path | None,
        typer.Option("--folds", help="Table of hvit split: take its test slides alone."),
    ] = None,
    part: Annotated[
        str,
        typer.Option("--set", help="A test set of --folds, tests for all of them, or folds."),
    ] = "tests",
    region_px: options.ModelRegionPx = None,
    patch_px: options.ModelPatchPx = None,
    spacing_um: options.ModelSpacingUm = None,
    spacing_tolerance: options.ModelSpacingTolerance = None,
    spacing_override: options.SpacingOverride = None,
    spacing_from_objective: options.SpacingFromObjective = False,
    mask_dir: options.MaskDir = None,
    mask_pattern: options.MaskPattern = TissueSettings.mask_pattern,
    tissue_value: options.TissueValue = options.TISSUE_VALUE_DEFAULT,
    missing_mask: options.Missing = TissueSettings.missing_mask,
    tissue_geojson: options.TissueGeojson = None,
    segment_spacing_um: options.SegmentSpacing = TissueSettings.segment_spacing_um,
    encoder: options.Encoder = None,
    device: options.Device = EmbeddingSettings.device,
    precision: options.PrecisionKind = EmbeddingSettings.precision,
    batch_size: options.BatchSize = EmbeddingSettings.batch_size,
    cases: Annotated[
        Literal["bag", "max"] | None,
        typer.Option(
            "--cases",
            help="Also grade cases: all regions of their slides as one bag, or the worst slide.",
        ),
    ] = None,
    case_table: Annotated[
        Path | None,
        typer.Option(
            "--case-table", help="Table with slide_id and case_id, where no manifest says them."
        ),
    ] = None,
    jobs: options.Jobs = RunSettings.jobs,
    timeout: options.Timeout = RunSettings.timeout,
    memory_limit: options.MemoryLimit = RunSettings.memory_limit,
    retries: options.Retries = RunSettings.retries,
    retry_failed: options.RetryFailed = RunSettings.retry_failed,
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
    """Grade slides: a score and an ISUP grade each, with what was and was not looked at."""
    from hvit_cli.pipelines.predict import cases_path
    from hvit_cli.pipelines.predict import predict as run
    from hvit_cli.steps.choose import ModelRequest
    from hvit_cli.storage.work import WorkFolder

    reading = ReadingSettings(
        spacing_override=spacing_override, spacing_from_objective=spacing_from_objective
    )
    tissue = TissueSettings(
        mask_dir=mask_dir,
        mask_pattern=mask_pattern,
        tissue_values=options.tissue_values(tissue_value),
        missing_mask=missing_mask,
        tissue_geojson=tissue_geojson,
        segment_spacing_um=segment_spacing_um,
    )
    request = ModelRequest(
        model=model,
        attention=options.attention_of(masked),
        mask_level=mask_level,
        region_px=region_px,
        patch_px=patch_px,
        spacing_um=spacing_um,
        spacing_tolerance=spacing_tolerance,
        encoder=encoder,
    )
    if dry_run:
        from hvit_cli.cli.forecasts import say_forecast
        from hvit_cli.pipelines.dry_run import forecast

        told = forecast(
            slides,
            "predict",
            work=WorkFolder(work),
            reading=reading,
            tissue=tissue,
            tiling=TilingSettings(),
            request=request,
            exclude=exclude,
        )
        say_forecast(told, as_json)
        return
    bars = PatchBars()
    records = console.follow(
        run(
            slides,
            work=WorkFolder(work),
            out=out,
            request=request,
            reading=reading,
            tissue=tissue,
            embedding=EmbeddingSettings(device=device, precision=precision, batch_size=batch_size),
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
                shard=shard,
                claim=claim,
                claim_ttl=claim_ttl,
                engine=engine,
                gpus=gpus,
                worker_timeout=worker_timeout,
            ),
            cases=cases,
            case_table=case_table,
            watch=bars.watch,
        ),
        "predict",
        bars=bars,
    )
    predictions = [record.product for record in records if record.product is not None]
    if as_json:
        console.say_json(predictions)
    else:
        table = out or WorkFolder(work).predictions
        shown = console.worth_showing(records, str(table))
        console.say_table(
            (
                "slide",
                "ISUP",
                "score",
                "± sd",
                "attention",
                "regions",
                "patches",
                "tissue mm²",
                "not looked at mm²",
                "status",
            ),
            (
                (
                    p.slide_id,
                    p.grade,
                    console.number(p.score, 3),
                    console.number(p.score_sd, 3),
                    p.attention,
                    p.n_regions,
                    p.n_patches,
                    console.number(p.tissue_mm2, 2),
                    console.number(p.tissue_dropped_mm2, 2),
                    p.status,
                )
                for p in (record.product for record in shown)
                if p is not None
            ),
        )
        for remark in sorted({p.note for p in predictions if p.note}):
            console.say(f"Note: {remark}")
        console.say(f"Model {', '.join(sorted({p.model for p in predictions}))} · {table}")
        if cases is not None:
            console.say(f"Cases: {cases_path(table)}")
        console.say(console.NOT_A_DEVICE)
    console.finish(records)
