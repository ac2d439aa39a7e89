"""`hvit report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, cast, get_args

import typer

from hvit_cli.cli import console, options
from hvit_cli.settings import (
    EmbeddingSettings,
    HeatmapSettings,
    MapKind,
    MapLevel,
    ReadingSettings,
    ReportSettings,
    RunSettings,
    Scale,
    SheetLayout,
    TilingSettings,
    TissueSettings,
    sentence,
)

_MAP, _BLIND, _LABELS = "Map", "Blinded sheets", "Labels"


def report(
    slides: options.Slides,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            help="A page (.html): the slide's, or for several slides the cohort's alone; or a "
            "folder for all pages; reports/ in the work folder by default.",
        ),
    ] = None,
    masked: options.Masked = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels",
            help="Table of labels: the worst errors come first.",
            rich_help_panel=_LABELS,
        ),
    ] = None,
    id_column: options.IdColumn = None,
    label_column: options.LabelColumn = None,
    blind: Annotated[
        bool,
        typer.Option(
            "--blind",
            help="Write randomised sheets of plain and masked maps, and a key, instead of pages.",
            rich_help_panel=_BLIND,
        ),
    ] = False,
    sheets: Annotated[
        SheetLayout,
        typer.Option("--sheets", help=sentence(ReportSettings, "sheets"), rich_help_panel=_BLIND),
    ] = ReportSettings.sheets,
    seed: Annotated[
        int,
        typer.Option("--seed", help=sentence(ReportSettings, "seed"), rich_help_panel=_BLIND),
    ] = ReportSettings.seed,
    model: options.Model = None,
    work: options.Work = options.WORK_DEFAULT,
    exclude: options.Exclude = None,
    top: Annotated[
        int, typer.Option("--top", help=sentence(ReportSettings, "top"), rich_help_panel=_MAP)
    ] = ReportSettings.top,
    map_kind: Annotated[
        MapKind,
        typer.Option("--map", help=sentence(HeatmapSettings, "map"), rich_help_panel=_MAP),
    ] = HeatmapSettings.map,
    level: Annotated[
        str,
        typer.Option(
            "--level",
            help="Level of the attention: region, slide, or region×slide; an x does for ×.",
            metavar="[region|slide|region×slide]",
            rich_help_panel=_MAP,
        ),
    ] = HeatmapSettings.level,
    head: Annotated[
        int | None,
        typer.Option("--head", help=sentence(HeatmapSettings, "head"), rich_help_panel=_MAP),
    ] = HeatmapSettings.head,
    scale: Annotated[
        Scale | None,
        typer.Option("--scale", help=sentence(HeatmapSettings, "scale"), rich_help_panel=_MAP),
    ] = HeatmapSettings.scale,
    colour_map: Annotated[
        str | None,
        typer.Option(
            "--colour-map", help=sentence(HeatmapSettings, "colour_map"), rich_help_panel=_MAP
        ),
    ] = HeatmapSettings.colour_map,
    opacity: Annotated[
        float,
        typer.Option("--opacity", help=sentence(HeatmapSettings, "opacity"), rich_help_panel=_MAP),
    ] = HeatmapSettings.opacity,
    picture_px: Annotated[
        int,
        typer.Option(
            "--picture-size", help=sentence(ReportSettings, "picture_px"), rich_help_panel=_MAP
        ),
    ] = ReportSettings.picture_px,
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
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Report on slides: one page each and one for all, or blinded sheets for pathologists."""
    from hvit_cli.errors import UsageError

    if level not in get_args(MapLevel):
        level = level.replace("x", "×")
    maps = HeatmapSettings(
        map=map_kind,
        level=cast(MapLevel, level),  # checked at birth
        head=head,
        scale=scale,
        colour_map=colour_map,
        opacity=opacity,
        max_px=2 * picture_px,  # of a blinded sheet, which shows a slide several times
    )
    settings = ReportSettings(top=top, picture_px=picture_px, sheets=sheets, seed=seed)
    if blind and labels is not None:
        raise UsageError("blinded sheets show no labels", where="--labels", hint="without --blind")

    from hvit_cli.pipelines import report as pipeline
    from hvit_cli.steps.choose import ModelRequest
    from hvit_cli.storage.work import WorkFolder

    given: dict[str, Any] = {
        "work": WorkFolder(work),
        "out": out,
        "maps": maps,
        "settings": settings,
        "request": ModelRequest(model=model, attention=options.attention_of(masked)),
        "reading": ReadingSettings(
            spacing_override=spacing_override, spacing_from_objective=spacing_from_objective
        ),
        "tissue": TissueSettings(
            mask_dir=mask_dir,
            mask_pattern=mask_pattern,
            tissue_values=options.tissue_values(tissue_value),
            missing_mask=missing_mask,
            tissue_geojson=tissue_geojson,
            segment_spacing_um=segment_spacing_um,
        ),
        "embedding": EmbeddingSettings(device=device, precision=precision, batch_size=batch_size),
        "exclude": exclude,
        "overwrite": overwrite,
        "running": RunSettings(
            jobs=jobs,
            timeout=timeout,
            memory_limit=memory_limit,
            retries=retries,
            retry_failed=retry_failed,
        ),
    }
    if dry_run:
        from hvit_cli.cli.forecasts import say_forecast
        from hvit_cli.pipelines.dry_run import forecast

        named = ("work", "request", "reading", "tissue", "exclude")
        asked = {name: given[name] for name in named}
        say_forecast(forecast(slides, pipeline.STAGE, tiling=TilingSettings(), **asked), as_json)
        return
    if blind:
        _blind(slides, given, as_json)
        return
    source = None
    if labels is not None:
        source = pipeline.LabelSource(path=labels, id_column=id_column, label_column=label_column)
    records = console.follow(pipeline.report(slides, **given, labels=source), "report")
    if as_json:
        console.say_json([{**vars(record.row), "report": record.product} for record in records])
        console.finish(records)
        return
    console.say_table(
        ("slide", "attention", "grade", "score", "± sd", "status", "page"),
        (
            (
                record.row.slide_id,
                said and said.attention,
                said and said.grade,
                console.number(said.score, 3) if said else None,
                console.number(said.score_sd, 3) if said else None,
                record.row.status,
                record.product and record.product.page,
            )
            for record in console.worth_showing(records, "status.csv in the work folder")
            for said in ((record.product.said if record.product else ()) or (None,))
        ),
    )
    cohort = pipeline.cohort_page_of(given["work"], out, len(records))
    if cohort is not None:
        console.say(f"Cohort: {cohort}")
    console.say(console.NOT_A_DEVICE)
    console.finish(records)


def _blind(slides: list[Path], given: dict[str, Any], as_json: bool) -> None:
    from hvit_cli.pipelines.blind import blind

    records = console.follow(blind(slides, **given), "report")
    folder = given["out"] or given["work"].path / "blind"
    if as_json:
        console.say_json([{**vars(record.row), "sheets": record.product} for record in records])
    else:
        sheets = sum(len(record.product or ()) for record in records)
        console.say(f"{sheets} sheets and the form for answers: {folder / 'sheets'}")
        console.say(f"Key, to be kept from the readers: {folder / 'key.csv'}")
        console.say(console.NOT_A_DEVICE)
    console.finish(records)
