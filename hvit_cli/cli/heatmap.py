"""`hvit heatmap`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, cast, get_args

import typer

from hvit_cli.cli import console, options
from hvit_cli.cli.patch_bars import PatchBars
from hvit_cli.settings import (
    EmbeddingSettings,
    FigureKind,
    FigureSettings,
    HeatmapSettings,
    MapKind,
    MapLevel,
    ReadingSettings,
    RunSettings,
    Scale,
    TilingSettings,
    TissueSettings,
    Unit,
    sentence,
)

_MAP = "Map"
_PICTURE = "Picture"


def heatmap(
    slides: options.Slides,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            help="For one slide a file: .png, .jpg, .tiff or .ome.tiff (overlay), .geojson; for "
            "several a folder; heatmaps/ in the work folder by default.",
        ),
    ] = None,
    masked: options.Masked = None,
    mask_level: options.MaskLevelKind = None,
    side_by_side: Annotated[
        bool, typer.Option("--side-by-side", help="Tissue mask, plain and masked map together.")
    ] = False,
    figure: Annotated[
        FigureKind,
        typer.Option("--figure", help=sentence(FigureSettings, "figure"), rich_help_panel=_PICTURE),
    ] = FigureSettings.figure,
    shown_region: Annotated[
        int | None,
        typer.Option(
            "--show-region",
            help=sentence(FigureSettings, "shown_region"),
            rich_help_panel=_PICTURE,
        ),
    ] = FigureSettings.shown_region,
    top: Annotated[
        int,
        typer.Option("--top", help=sentence(FigureSettings, "top"), rich_help_panel=_PICTURE),
    ] = FigureSettings.top,
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            help="Write this format, into the folder or beside the file: png, jpg, tiff, "
            "ome.tiff, geojson. May be given several times.",
            metavar="SUFFIX",
        ),
    ] = None,
    scores: Annotated[
        Path | None,
        typer.Option(
            "--scores", help="Also write the numbers: NPZ for one slide, a folder for several."
        ),
    ] = None,
    model: options.Model = None,
    work: options.Work = options.WORK_DEFAULT,
    exclude: options.Exclude = None,
    head: Annotated[
        int | None,
        typer.Option("--head", help=sentence(HeatmapSettings, "head"), rich_help_panel=_MAP),
    ] = HeatmapSettings.head,
    map_kind: Annotated[
        MapKind,
        typer.Option("--map", help=sentence(HeatmapSettings, "map"), rich_help_panel=_MAP),
    ] = HeatmapSettings.map,
    level: Annotated[
        str,
        typer.Option(
            "--level",
            help=sentence(HeatmapSettings, "level") + " An x does for ×.",
            metavar=f"[{'|'.join(get_args(MapLevel))}]",
            rich_help_panel=_MAP,
        ),
    ] = HeatmapSettings.level,
    unit: Annotated[
        Unit,
        typer.Option("--unit", help=sentence(HeatmapSettings, "unit"), rich_help_panel=_MAP),
    ] = HeatmapSettings.unit,
    gamma: Annotated[
        float | None,
        typer.Option("--gamma", help=sentence(HeatmapSettings, "gamma"), rich_help_panel=_MAP),
    ] = HeatmapSettings.gamma,
    scale: Annotated[
        Scale | None,
        typer.Option("--scale", help=sentence(HeatmapSettings, "scale"), rich_help_panel=_MAP),
    ] = HeatmapSettings.scale,
    colour_map: Annotated[
        str | None,
        typer.Option(
            "--colour-map", help=sentence(HeatmapSettings, "colour_map"), rich_help_panel=_PICTURE
        ),
    ] = HeatmapSettings.colour_map,
    colour_range: Annotated[
        tuple[float, float] | None,
        typer.Option(
            "--colour-range",
            help=sentence(HeatmapSettings, "colour_range"),
            metavar="LOW HIGH",
            rich_help_panel=_PICTURE,
        ),
    ] = None,
    percentile: Annotated[
        tuple[float, float] | None,
        typer.Option(
            "--percentile",
            help=sentence(HeatmapSettings, "percentile"),
            metavar="LOW HIGH",
            rich_help_panel=_PICTURE,
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            "--threshold", help=sentence(HeatmapSettings, "threshold"), rich_help_panel=_PICTURE
        ),
    ] = HeatmapSettings.threshold,
    highlight: Annotated[
        float | None,
        typer.Option(
            "--highlight", help=sentence(HeatmapSettings, "highlight"), rich_help_panel=_PICTURE
        ),
    ] = HeatmapSettings.highlight,
    opacity: Annotated[
        float,
        typer.Option(
            "--opacity", help=sentence(HeatmapSettings, "opacity"), rich_help_panel=_PICTURE
        ),
    ] = HeatmapSettings.opacity,
    max_px: Annotated[
        int,
        typer.Option("--size", help=sentence(HeatmapSettings, "max_px"), rich_help_panel=_PICTURE),
    ] = HeatmapSettings.max_px,
    tissue_only: Annotated[
        bool,
        typer.Option(
            "--tissue-only", help=sentence(HeatmapSettings, "tissue_only"), rich_help_panel=_PICTURE
        ),
    ] = HeatmapSettings.tissue_only,
    smooth: Annotated[
        bool,
        typer.Option(
            "--smooth", help=sentence(HeatmapSettings, "smooth"), rich_help_panel=_PICTURE
        ),
    ] = HeatmapSettings.smooth,
    outline: Annotated[
        bool,
        typer.Option(
            "--outline", help=sentence(HeatmapSettings, "outline"), rich_help_panel=_PICTURE
        ),
    ] = HeatmapSettings.outline,
    contour: Annotated[
        bool,
        typer.Option(
            "--contour", help=sentence(HeatmapSettings, "contour"), rich_help_panel=_PICTURE
        ),
    ] = HeatmapSettings.contour,
    overlap: Annotated[
        int,
        typer.Option(
            "--overlap", help=sentence(HeatmapSettings, "overlap"), rich_help_panel=_PICTURE
        ),
    ] = HeatmapSettings.overlap,
    overlay_um: Annotated[
        float,
        typer.Option(
            "--overlay-um", help=sentence(HeatmapSettings, "overlay_um"), rich_help_panel=_PICTURE
        ),
    ] = HeatmapSettings.overlay_um,
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
    """Draw where the model looked over the slide; what it could not see stays clear."""
    if side_by_side and figure not in ("map", "6"):
        from hvit_cli.errors import UsageError

        raise UsageError("--side-by-side is figure 6", where="--figure", found=figure)
    settings = HeatmapSettings(
        map=map_kind,
        level=cast(MapLevel, level.replace("x", "×")),  # checked at birth
        unit=unit,
        gamma=gamma,
        head=head,
        scale=scale,
        colour_map=colour_map,
        opacity=opacity,
        max_px=max_px,
        tissue_only=tissue_only,
        smooth=smooth,
        outline=outline,
        colour_range=colour_range,
        percentile=percentile,
        threshold=threshold,
        highlight=highlight,
        contour=contour,
        overlap=overlap,
        overlay_um=overlay_um,
    )

    from hvit_cli.pipelines.heatmap import heatmap as run
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
            "heatmap",
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
            scores=scores,
            settings=settings,
            request=request,
            reading=reading,
            tissue=tissue,
            embedding=EmbeddingSettings(device=device, precision=precision, batch_size=batch_size),
            figure=FigureSettings(
                figure="6" if side_by_side else figure,
                shown_region=shown_region,
                top=top,
            ),
            formats=formats or (),
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
                engine=engine,
                gpus=gpus,
                worker_timeout=worker_timeout,
            ),
            watch=bars.watch,
        ),
        "heatmap",
        bars=bars,
    )
    if as_json:
        console.say_json([{**vars(record.row), "heatmap": record.product} for record in records])
        console.finish(records)
        return
    console.say_table(
        ("slide", "attention", "ISUP", "score", "± sd", "status", "picture"),
        (
            (
                record.row.slide_id,
                verdict and verdict.attention,
                verdict and verdict.grade,
                console.number(verdict.score, 3) if verdict else None,
                console.number(verdict.score_sd, 3) if verdict else None,
                record.row.status,
                record.product and record.product.picture,
            )
            for record in console.worth_showing(records, "status.csv in the work folder")
            for verdict in (record.product.verdicts if record.product else (None,))
        ),
    )
    said = {v.note for r in records if r.product for v in r.product.verdicts if v.note}
    for remark in sorted(said):
        console.say(f"Note: {remark}")
    console.say(console.NOT_A_DEVICE)
    console.finish(records)
