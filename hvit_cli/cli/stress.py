"""`hvit stress`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, cast, get_args

import typer

from hvit_cli.cli import console, options
from hvit_cli.settings import (
    EmbeddingSettings,
    GlassKind,
    ReadingSettings,
    RunSettings,
    StressSettings,
    TilingSettings,
    TissueSettings,
    sentence,
)

_GLASS = "Glass"


def stress(
    slides: options.Slides,
    masked: options.Masked = None,
    model: options.Model = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Folder for stress.csv and stress.md.")
    ] = None,
    glass: Annotated[
        list[str] | None,
        typer.Option(
            "--glass",
            help=sentence(StressSettings, "kinds") + " May be given several times.",
            metavar=f"[{'|'.join(get_args(GlassKind))}]",
            rich_help_panel=_GLASS,
        ),
    ] = None,
    glass_from: Annotated[
        Path | None,
        typer.Option(
            "--glass-from",
            help="Slide whose glass the others get; the next slide of the run by default.",
            rich_help_panel=_GLASS,
        ),
    ] = None,
    edges: Annotated[
        bool,
        typer.Option("--edges", help=sentence(StressSettings, "edges"), rich_help_panel=_GLASS),
    ] = StressSettings.edges,
    draws: Annotated[
        int, typer.Option("--draws", help=sentence(StressSettings, "draws"))
    ] = StressSettings.draws,
    seed: options.Seed = StressSettings.seed,
    work: options.Work = options.WORK_DEFAULT,
    exclude: options.Exclude = None,
    spacing_override: options.SpacingOverride = None,
    spacing_from_objective: options.SpacingFromObjective = False,
    mask_dir: options.MaskDir = None,
    mask_pattern: options.MaskPattern = TissueSettings.mask_pattern,
    tissue_value: options.TissueValue = options.TISSUE_VALUE_DEFAULT,
    missing_mask: options.Missing = TissueSettings.missing_mask,
    tissue_geojson: options.TissueGeojson = None,
    segment_spacing_um: options.SegmentSpacing = TissueSettings.segment_spacing_um,
    device: options.Device = EmbeddingSettings.device,
    precision: options.PrecisionKind = EmbeddingSettings.precision,
    batch_size: options.BatchSize = EmbeddingSettings.batch_size,
    jobs: options.Jobs = RunSettings.jobs,
    timeout: options.Timeout = RunSettings.timeout,
    memory_limit: options.MemoryLimit = RunSettings.memory_limit,
    retries: options.Retries = RunSettings.retries,
    retry_failed: options.RetryFailed = RunSettings.retry_failed,
    shard: options.ShardOf = RunSettings.shard,
    claim: options.ClaimSlides = RunSettings.claim,
    claim_ttl: options.ClaimTtl = RunSettings.claim_ttl,
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Put the same tissue on other glass and see whether the grade changes; needs no labels."""
    settings = StressSettings(
        kinds=cast(tuple[GlassKind, ...], tuple(glass)) if glass else StressSettings.kinds,
        edges=edges,
        draws=draws,
        seed=seed,
    )

    from hvit_cli.measures.page import cell
    from hvit_cli.measures.stress import GLASS
    from hvit_cli.pipelines import stress as pipeline
    from hvit_cli.steps.choose import ModelRequest
    from hvit_cli.storage.work import WorkFolder

    request = ModelRequest(model=model, attention=options.attention_of(masked))
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
            pipeline.STAGE,
            work=WorkFolder(work),
            reading=reading,
            tissue=tissue,
            tiling=TilingSettings(),
            request=request,
            exclude=exclude,
        )
        say_forecast(told, as_json)
        return
    folder = out or work / "stress"
    records = console.follow(
        pipeline.stress(
            slides,
            work=WorkFolder(work),
            settings=settings,
            request=request,
            reading=reading,
            tissue=tissue,
            embedding=EmbeddingSettings(device=device, precision=precision, batch_size=batch_size),
            glass_from=glass_from,
            out=folder,
            exclude=exclude,
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
            ),
        ),
        "stress",
    )
    if shard is not None:
        console.end_part(records, folder / "stress.md")
        return
    rows = [row for record in records for row in record.product or ()]
    written = pipeline.write_stress(folder, rows, settings)
    if as_json:
        console.say_json({"slides": rows, "summary": written.summary})
    else:
        console.say_table(
            ("glass", "attention", "slides", "mean change", "largest", "another grade"),
            (
                (
                    GLASS[one.glass],
                    one.attention,
                    one.change.slides,
                    cell(one.change),
                    console.number(one.largest, 3),
                    cell(one.other_grade),
                )
                for one in written.summary
            ),
        )
        for remark in sorted({row.note for row in rows if row.note}):
            console.say(f"Note: {remark}")
        console.say(f"{written.page} has every slide and says what was changed.")
        if "other" in settings.kinds and not any(row.glass == "other" for row in rows):
            console.note("A single slide has no other's glass to get; --glass-from names one.")
        console.say(console.NOT_A_DEVICE)
    console.finish(records)
