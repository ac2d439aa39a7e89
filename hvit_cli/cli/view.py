"""`hvit view`."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from hvit_cli.cli import console, options
from hvit_cli.settings import (
    EmbeddingSettings,
    HeatmapSettings,
    ReadingSettings,
    TissueSettings,
    sentence,
)

_PAGE = "Page"


class _Map(Enum):
    attention = "attention"
    rollout = "rollout"
    contribution = "contribution"
    single = "single"
    gradient = "gradient"
    integrated = "integrated"


def view(
    slide: Annotated[Path, typer.Argument(help="The slide.", show_default=False)],
    masked: options.Masked = None,
    model: options.Model = None,
    work: options.Work = options.WORK_DEFAULT,
    maps: Annotated[
        list[_Map] | None,
        typer.Option(
            "--map",
            help="Maps to choose from on the page; all but integrated by default.",
            show_default=False,
            rich_help_panel=_PAGE,
        ),
    ] = None,
    port: Annotated[
        int,
        typer.Option(
            "--port",
            min=0,
            max=65535,
            help="Port on 127.0.0.1; 0 takes a free one.",
            rich_help_panel=_PAGE,
        ),
    ] = 0,
    browser: Annotated[
        bool,
        typer.Option(
            "--browser/--no-browser",
            help="Open the page in a browser, or only print its address.",
            rich_help_panel=_PAGE,
        ),
    ] = True,
    colour_map: Annotated[
        str | None,
        typer.Option(
            "--colour-map", help=sentence(HeatmapSettings, "colour_map"), rich_help_panel=_PAGE
        ),
    ] = HeatmapSettings.colour_map,
    opacity: Annotated[
        float,
        typer.Option("--opacity", help=sentence(HeatmapSettings, "opacity"), rich_help_panel=_PAGE),
    ] = HeatmapSettings.opacity,
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
    overwrite: options.Overwrite = False,
    verbose: options.Verbose = False,
) -> None:
    """Look at a slide and its maps in deep zoom, on a page of this machine alone."""
    settings = HeatmapSettings(colour_map=colour_map, opacity=opacity)

    from hvit_cli.pipelines.view import MAPS
    from hvit_cli.pipelines.view import view as run
    from hvit_cli.steps.choose import ModelRequest
    from hvit_cli.storage.work import WorkFolder

    server = run(
        slide,
        work=WorkFolder(work),
        settings=settings,
        request=ModelRequest(model=model, attention=options.attention_of(masked)),
        reading=ReadingSettings(
            spacing_override=spacing_override, spacing_from_objective=spacing_from_objective
        ),
        tissue=TissueSettings(
            mask_dir=mask_dir,
            mask_pattern=mask_pattern,
            tissue_values=options.tissue_values(tissue_value),
            missing_mask=missing_mask,
            tissue_geojson=tissue_geojson,
            segment_spacing_um=segment_spacing_um,
        ),
        embedding=EmbeddingSettings(device=device, precision=precision, batch_size=batch_size),
        maps=[kind.value for kind in maps] if maps else MAPS,
        port=port,
        overwrite=overwrite,
    )
    try:
        console.note(f"Ctrl-C ends it. {console.NOT_A_DEVICE}")
        console.say(server.url)
        if browser:
            _open(server.url)
        server.wait()
    except KeyboardInterrupt:
        # The way in which a viewer ends, and no failure: the exit code is 0.
        console.note("closed")
    finally:
        server.close()


def _open(url: str) -> None:
    import webbrowser

    if not webbrowser.open(url):
        console.note("no browser could be opened: open the address above")
