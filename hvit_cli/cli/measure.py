"""`hvit measure`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, cast, get_args

import typer

from hvit_cli.cli import console, options
from hvit_cli.settings import (
    LABEL_PRESETS,
    EmbeddingSettings,
    LabelPreset,
    LabelScheme,
    MapKind,
    MeasureSettings,
    ReadingSettings,
    RunSettings,
    TilingSettings,
    TissueSettings,
    sentence,
)

_TRUTH = "Truth"
_MEASURES = "Measures"


def measure(
    slides: options.SlidesOrFeatures,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            help="Model folder, or demo. May be given several times: all are measured.",
            rich_help_panel="Model",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="Folder for maps.csv, summary.csv and summary.md."),
    ] = None,
    truth: Annotated[
        Path | None,
        typer.Option(
            "--truth", help="Folder of pathology masks, for localisation.", rich_help_panel=_TRUTH
        ),
    ] = None,
    truth_pattern: Annotated[
        str,
        typer.Option(
            "--truth-pattern",
            help="Name of a slide's pathology mask in that folder.",
            rich_help_panel=_TRUTH,
        ),
    ] = "{slide_id}_mask.tiff",
    preset: Annotated[
        LabelPreset | None,
        typer.Option("--preset", help="Whose masks they are.", rich_help_panel=_TRUTH),
    ] = None,
    tumour_values: Annotated[
        str | None,
        typer.Option(
            "--tumour-values",
            help=sentence(LabelScheme, "tumour_values"),
            metavar="3,4,5",
            rich_help_panel=_TRUTH,
        ),
    ] = None,
    other_values: Annotated[
        str | None,
        typer.Option(
            "--other-values",
            help=sentence(LabelScheme, "other_values"),
            metavar="1,2",
            rich_help_panel=_TRUTH,
        ),
    ] = None,
    ignore_values: Annotated[
        str | None,
        typer.Option(
            "--ignore-values",
            help=sentence(LabelScheme, "ignore_values") + " 0 where nothing is said.",
            metavar="0",
            rich_help_panel=_TRUTH,
        ),
    ] = None,
    map_kind: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            help="Measure this map; may be given several times. All but integrated by default.",
            metavar=f"[{'|'.join(get_args(MapKind))}]",
            rich_help_panel=_MEASURES,
        ),
    ] = None,
    steps: Annotated[
        int,
        typer.Option("--steps", help=sentence(MeasureSettings, "steps"), rich_help_panel=_MEASURES),
    ] = MeasureSettings.steps,
    stability: Annotated[
        int,
        typer.Option(
            "--stability",
            help=sentence(MeasureSettings, "stability_slides"),
            rich_help_panel=_MEASURES,
        ),
    ] = MeasureSettings.stability_slides,
    floors: Annotated[
        bool,
        typer.Option(
            "--floors/--no-floors",
            help=sentence(MeasureSettings, "floors"),
            rich_help_panel=_MEASURES,
        ),
    ] = MeasureSettings.floors,
    draws: Annotated[
        int,
        typer.Option("--draws", help=sentence(MeasureSettings, "draws"), rich_help_panel=_MEASURES),
    ] = MeasureSettings.draws,
    seed: options.Seed = MeasureSettings.seed,
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
    """Measure heatmaps: on glass, on tumour, against the model itself, when slides shift."""
    scheme = _scheme(preset, tumour_values, other_values, ignore_values)
    settings = MeasureSettings(
        maps=cast(tuple[MapKind, ...], tuple(map_kind)) if map_kind else MeasureSettings.maps,
        steps=steps,
        stability_slides=stability,
        floors=floors,
        draws=draws,
        seed=seed,
    )
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
    embedding = EmbeddingSettings(
        device=device, precision=precision, batch_size=batch_size, attention="plain"
    )

    from hvit_cli.measures.page import HEADINGS, name_of
    from hvit_cli.pipelines import measure as pipeline
    from hvit_cli.storage.work import WorkFolder

    if dry_run:
        from hvit_cli.cli.forecasts import say_forecast
        from hvit_cli.pipelines.dry_run import forecast
        from hvit_cli.steps.choose import ModelRequest

        told = forecast(
            slides,
            pipeline.STAGE,
            work=WorkFolder(work),
            reading=reading,
            tissue=tissue,
            tiling=TilingSettings(),
            request=ModelRequest(model=model[0] if model else None),
            exclude=exclude,
        )
        say_forecast(told, as_json)
        return
    folder = out or work / "measures"
    records = console.follow(
        pipeline.measure(
            slides,
            work=WorkFolder(work),
            request=pipeline.MeasureRequest(
                models=tuple(model or ()),
                truth=pipeline.truth_source(truth, truth_pattern, scheme),
                settings=settings,
            ),
            reading=reading,
            tissue=tissue,
            embedding=embedding,
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
        "measure",
    )
    if shard is not None:
        console.end_part(records, folder / "summary.md")
        return
    measured = [row for record in records for row in record.product or ()]
    summary = pipeline.write_measures(folder, measured, settings)
    if as_json:
        console.say_json(summary)
    else:
        shown = [n for n in HEADINGS if any(one.measures[n].slides for one in summary)]
        console.say_table(
            ("map", *(HEADINGS[name] for name in shown)),
            (
                [
                    name_of(one.row),
                    *(console.number(one.measures[name].mean.value, 3) for name in shown),
                ]
                for one in summary
            ),
        )
        console.say(f"{folder / 'summary.md'} has intervals, and says what the numbers rest on.")
        console.say(console.NOT_A_DEVICE)
    console.finish(records)


def _scheme(
    preset: LabelPreset | None, tumour: str | None, other: str | None, ignore: str | None
) -> LabelScheme | None:
    """What the values of pathology masks mean; None where nothing is said."""
    from hvit_cli.errors import UsageError

    if preset is None and tumour is None and other is None and ignore is None:
        return None
    if preset is not None:
        if tumour or other or ignore:
            raise UsageError(
                "--preset says what every value means", where="--tumour-values, --other-values"
            )
        return LABEL_PRESETS[preset]
    if tumour is None or other is None:
        raise UsageError(
            "both must be said: which values are tumour, and which other tissue",
            where="--tumour-values, --other-values",
        )
    ignored = options.mask_values(ignore, "--ignore-values") if ignore else (0,)
    return LabelScheme(
        tumour_values=options.mask_values(tumour, "--tumour-values"),
        other_values=options.mask_values(other, "--other-values"),
        ignore_values=ignored,
    )
