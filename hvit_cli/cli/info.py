"""`hvit info`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hvit_cli.cli import console, options
from hvit_cli.errors import HvitError, SomeSlidesFailedError
from hvit_cli.settings import ReadingSettings, TilingSettings

if TYPE_CHECKING:
    from hvit_cli.pipelines.info import ProductInfo, SlideInfo

_Csv = Annotated[Path | None, typer.Option("--csv", help="Write the table to this CSV file.")]


def info(
    paths: Annotated[
        list[Path],
        typer.Argument(
            help="Slides, folders of slides, manifests (CSV), or files that hvit wrote.",
            show_default=False,
        ),
    ],
    csv: _Csv = None,
    region_px: options.RegionPx = TilingSettings.region_px,
    patch_px: options.PatchPx = TilingSettings.patch_px,
    spacing_um: options.SpacingUm = ReadingSettings.spacing_um,
    spacing_tolerance: options.SpacingTolerance = ReadingSettings.spacing_tolerance,
    spacing_override: options.SpacingOverride = None,
    spacing_from_objective: options.SpacingFromObjective = False,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Say what slides are, where their spacing comes from, and what would be done with them."""
    from hvit_cli.pipelines.info import COLUMNS, SlideInfo, inspect
    from hvit_cli.storage.tables import write_table

    records = list(
        inspect(
            paths,
            reading=ReadingSettings(
                spacing_um=spacing_um,
                spacing_tolerance=spacing_tolerance,
                spacing_override=spacing_override,
                spacing_from_objective=spacing_from_objective,
            ),
            tiling=TilingSettings(region_px=region_px, patch_px=patch_px),
        )
    )
    slides = [record for record in records if isinstance(record, SlideInfo)]
    if csv is not None:
        write_table(csv, COLUMNS, [slide.row() for slide in slides])
        console.note(f"wrote {csv}")
    if as_json:
        console.say_json(records)
    elif len(records) == 1:
        _say_one(records[0])
    else:
        _say_all(slides)
        for record in records:
            if not isinstance(record, SlideInfo):
                _say_one(record)
    _finish(records)


def _say_one(record: SlideInfo | ProductInfo) -> None:
    from hvit_cli.pipelines.info import SlideInfo

    console.say(str(record.path))
    if not isinstance(record, SlideInfo):
        for name, fact in record.facts.items():
            console.say(f"  {name}: {fact}")
        return
    if not record.levels:
        return
    width, height = record.levels[0].size
    console.say(f"  {record.vendor}, {width} × {height} px, pixels through {record.decoder}")
    console.say("spacing, by source")
    for source in record.sources:
        won = source.kind == record.spacing_source
        verdict = "taken" if won else source.reason or "not needed"
        console.say(f"  {source.kind:9} {source.text}: {verdict}")
    if not record.sources:
        console.say("  none")
    console.say("levels")
    for level in record.levels:
        spacing = "" if level.spacing_um is None else f", {level.spacing_um:.4g} µm/px"
        used = ", read" if level.level == record.level else ""
        console.say(
            f"  {level.level}: {level.size[0]} × {level.size[1]} px, "
            f"1/{level.downsample:.6g}{spacing}{used}"
        )
    if record.spacing_um is not None and record.region_um is not None:
        how = "reduced from" if record.resampled else "the pixels of"
        console.say(
            f"would be read at {record.spacing_um:.4g} µm/px, {how} level {record.level}; "
            f"a region is {record.region_um:.0f} µm or {record.region_level0:.6g} level-0 px wide"
        )


def _say_all(slides: Sequence[SlideInfo]) -> None:
    if not slides:
        return
    console.say_table(
        ("slide", "vendor", "size", "µm/px", "from", "level", "read at", "decoder", "problem"),
        (
            (
                slide.slide_id,
                slide.vendor,
                "×".join(map(str, slide.levels[0].size)) if slide.levels else None,
                console.number(slide.spacing_um_level0, 4),
                slide.spacing_source,
                slide.level,
                console.number(slide.spacing_um, 4),
                slide.decoder,
                slide.problem,
            )
            for slide in slides
        ),
    )


def _finish(records: Sequence[SlideInfo | ProductInfo]) -> None:
    """Ends with exit code 1 when the only path has a problem, 3 when some of several have.

    Raises:
        HvitError: A path has a problem.
    """
    failed = [record for record in records if record.problem]
    if not failed:
        return
    if len(records) == 1:
        raise HvitError(failed[0].problem, where=failed[0].path, hint=failed[0].hint or None)
    raise SomeSlidesFailedError(
        f"{len(failed)} of {len(records)} cannot be used as they are",
        hint="hvit info on one of them, which says what to try",
    )
