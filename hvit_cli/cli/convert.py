"""`hvit convert`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from hvit_cli.cli import console, options
from hvit_cli.errors import UsageError
from hvit_cli.settings import ReadingSettings, TilingSettings

if TYPE_CHECKING:
    from hvit_cli.engine.run import SlideRecord
    from hvit_cli.pipelines.convert import ImportRequest
    from hvit_cli.steps.convert_forecast import ConvertForecast

_FOREIGN, _OURS = "From another program", "To another program"


def convert(
    src: Annotated[
        list[Path],
        typer.Argument(
            metavar="SRC",
            help="Folder of features; with --model, weight files, one per fold.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "-o",
            "--out",
            help="With --from a work folder, with --model a model folder, with --to the folder "
            "of the other program.",
            show_default=False,
        ),
    ],
    source: Annotated[
        Literal["trident", "clam", "slide2vec", "original"] | None,
        typer.Option("--from", help="Whose files SRC holds.", rich_help_panel=_FOREIGN),
    ] = None,
    target: Annotated[
        Literal["clam", "trident", "stamp", "dense"] | None,
        typer.Option(
            "--to", help="Whose layout to write; SRC then holds hvit's.", rich_help_panel=_OURS
        ),
    ] = None,
    model: Annotated[
        bool,
        typer.Option(
            "--model",
            help="SRC are weight files of aggregators, which become one model.",
            rich_help_panel=_FOREIGN,
        ),
    ] = False,
    masked: options.Masked = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            "--encoder",
            help="The patch encoder of the features: a weight file, a folder or a name.",
            rich_help_panel=_FOREIGN,
        ),
    ] = None,
    encoder_name: Annotated[
        str | None,
        typer.Option(
            "--encoder-name",
            help="Name of the patch encoder, where its weights are not at hand.",
            rich_help_panel=_FOREIGN,
        ),
    ] = None,
    normalisation: options.EncoderNormalisation = None,
    slides: Annotated[
        Path | None,
        typer.Option(
            "--slides",
            help="Folder or manifest of the slides, which know their spacing and size.",
            rich_help_panel=_FOREIGN,
        ),
    ] = None,
    spacing_level0: Annotated[
        float | None,
        typer.Option(
            "--spacing-level0",
            help="µm per pixel of level 0, the same for all slides.",
            rich_help_panel=_FOREIGN,
        ),
    ] = None,
    patch_level0: Annotated[
        int | None,
        typer.Option(
            "--patch-level0",
            help="Side of a patch in level-0 pixels, where the files do not say.",
            rich_help_panel=_FOREIGN,
        ),
    ] = None,
    coordinates: Annotated[
        Path | None,
        typer.Option(
            "--coordinates",
            help="Where the original's regions lie: its folder of regions, a table "
            "slide_id,x,y or a folder of <slide>.npy.",
            rich_help_panel=_FOREIGN,
        ),
    ] = None,
    tissue: Annotated[
        Path | None,
        typer.Option(
            "--tissue",
            help="Folder of the original's tissue fractions, <slide>.npy.",
            rich_help_panel=_FOREIGN,
        ),
    ] = None,
    spacing_um: options.SpacingUm = ReadingSettings.spacing_um,
    spacing_tolerance: options.SpacingTolerance = ReadingSettings.spacing_tolerance,
    region_px: options.RegionPx = TilingSettings.region_px,
    patch_px: options.PatchPx = TilingSettings.patch_px,
    grid: options.GridKind = TilingSettings.grid,
    # Whoever cut the patches has chosen already: none of them is left out unasked.
    min_tissue_fraction: options.MinTissueFraction = 0.0,
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Bring features and models from other programs, or hand hvit's features to them."""
    from hvit_cli.pipelines.convert import (
        ImportRequest,
        export_features,
        forecast_export,
        forecast_import,
        import_features,
    )
    from hvit_cli.storage.work import WorkFolder

    if (source is None) == (target is None):
        raise UsageError("say either --from or --to", hint="hvit convert --help")
    if not model and len(src) != 1:
        raise UsageError("one folder at a time", where="SRC", found=", ".join(map(str, src)))
    if model and dry_run:
        raise UsageError(
            "a model is converted in a second, and nothing is there to foresee",
            where="--dry-run",
            hint="without --model, for features",
        )
    attention = options.attention_of(masked) or "masked"
    records: list[SlideRecord[Any]]
    if source is None:
        if model or target is None:
            raise UsageError("--model belongs to --from original")
        if dry_run:
            _foretell(forecast_export(src[0], out, target, attention), as_json)
            return
        exported = export_features(src[0], out, target, attention, overwrite=overwrite)
        records = [*console.follow(exported, "convert")]
    else:
        request = ImportRequest(
            layout=source,
            encoder=encoder,
            encoder_name=encoder_name,
            normalisation=normalisation,
            reading=ReadingSettings(
                spacing_um=spacing_um,
                spacing_tolerance=spacing_tolerance,
                spacing_override=spacing_level0,
            ),
            tiling=TilingSettings(
                region_px=region_px,
                patch_px=patch_px,
                grid=grid,
                min_tissue_fraction=min_tissue_fraction,
            ),
            patch_level0=patch_level0,
            slides=slides,
            coordinates=coordinates,
            tissue=tissue,
            overwrite=overwrite,
        )
        if model:
            _convert_model(src, out, attention, request, as_json=as_json)
            return
        if masked is not None:
            raise UsageError("--masked/--plain belongs to --model and --to")
        if dry_run:
            _foretell(forecast_import(src[0], WorkFolder(out), request), as_json)
            return
        imported = import_features(src[0], WorkFolder(out), request)
        records = [*console.follow(imported, "convert")]
    if as_json:
        console.say_json([record.row for record in records])
    else:
        console.say_status(records)
    console.finish(records)


def _foretell(told: ConvertForecast, as_json: bool) -> None:
    if as_json:
        console.say_json(told)
        return
    console.say(f"slides: {told.slides}")
    console.say(
        f"convert: {told.done} done by the logs, {told.failed} failed, {told.pending} pending"
    )
    if told.patches is None or told.seconds is None or told.disk_bytes is None:
        console.say("patches, time and disk: unknown, no slide could be tried")
    else:
        console.say(f"patches: {told.patches}, as the {told.tried} slides have that were tried")
        console.say(f"time: {told.seconds:.0f} s to read and regroup the rest, and the writing")
        console.say(f"disk: {told.disk_bytes / 1e9:.3f} GB, {told.free_bytes / 1e9:.1f} GB free")
    for problem in told.problems:
        console.say(f"problem: {problem}")
    console.say("Nothing was written.")


def _convert_model(
    files: list[Path],
    out: Path,
    attention: Literal["masked", "plain"],
    request: ImportRequest,
    *,
    as_json: bool,
) -> None:
    from hvit_cli.pipelines.convert import import_model

    converted = import_model(files, out, attention, request)
    for remark in converted.notes:
        console.note(remark)
    members = converted.model.members
    if as_json:
        console.say_json({"model": str(out), "members": members, "notes": converted.notes})
        return
    console.say_table(
        ("model", "attention", "members", "encoder", "normalisation"),
        [
            (
                out,
                attention,
                len(members),
                converted.model.encoder.name,
                converted.model.encoder.normalisation,
            )
        ],
    )
