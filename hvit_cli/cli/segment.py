"""`hvit segment`."""

from __future__ import annotations

from hvit_cli.cli import console, options
from hvit_cli.settings import ReadingSettings, RunSettings, TilingSettings, TissueSettings


def segment(
    slides: options.Slides,
    work: options.OutOrWork = options.WORK_DEFAULT,
    exclude: options.Exclude = None,
    spacing_override: options.SpacingOverride = None,
    spacing_from_objective: options.SpacingFromObjective = False,
    mask_dir: options.MaskDir = None,
    mask_pattern: options.MaskPattern = TissueSettings.mask_pattern,
    tissue_value: options.TissueValue = options.TISSUE_VALUE_DEFAULT,
    missing_mask: options.Missing = TissueSettings.missing_mask,
    tissue_geojson: options.TissueGeojson = None,
    segment_spacing_um: options.SegmentSpacing = TissueSettings.segment_spacing_um,
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
    """Tell tissue from glass: a mask, outlines for QuPath and an overview for each slide."""
    from hvit_cli.pipelines.segment import segment as run
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
    if dry_run:
        from hvit_cli.cli.forecasts import say_forecast
        from hvit_cli.pipelines.dry_run import forecast

        told = forecast(
            slides,
            "segment",
            work=WorkFolder(work),
            reading=reading,
            tissue=tissue,
            tiling=TilingSettings(),
            exclude=exclude,
        )
        say_forecast(told, as_json)
        return
    folder = WorkFolder(work)
    records = console.follow(
        run(
            slides,
            work=folder,
            reading=reading,
            tissue=tissue,
            exclude=exclude,
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
        ),
        "segment",
        with_products=False,
    )
    if as_json:
        console.say_json([record.row for record in records])
    else:
        console.say_status(records)
        console.say(f"Overview: {folder.qc_index}")
    console.finish(records)
