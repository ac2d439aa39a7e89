"""Every option of the command line, declared once.

A command takes an option by annotating a parameter with its alias and giving it the default
of the settings field behind it: `region_px: RegionPx = TilingSettings.region_px`. The help
text of such an option is the sentence under that field.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from hvit_cli.settings import (
    Attention,
    EmbeddingSettings,
    EncoderInput,
    Engine,
    Grid,
    MaskLevel,
    MissingMask,
    Normalisation,
    Precision,
    ReadingSettings,
    RunSettings,
    TilingSettings,
    TissueSettings,
    sentence,
)

_READING = "Reading"
_TISSUE = "Tissue"
_REGIONS = "Regions"
_RUNNING = "Running"
_MODEL = "Model"
_MANY = "Many slides"


def _option(
    kind: type, field: str, *names: str, panel: str | None = None, envvar: str | None = None
) -> Any:
    return typer.Option(*names, help=sentence(kind, field), rich_help_panel=panel, envvar=envvar)


Slides = Annotated[
    list[Path],
    typer.Argument(help="Slides, folders of slides, or a manifest (CSV).", show_default=False),
]
SlidesOrFeatures = Annotated[
    list[Path],
    typer.Argument(
        help="Slides, folders of slides, a manifest (CSV), or features that hvit embedded.",
        show_default=False,
    ),
]
Work = Annotated[
    Path,
    typer.Option(
        "-w",
        "--work",
        envvar="HVIT_WORK",
        help="Folder where masks, tiles, features and models live.",
    ),
]
OutOrWork = Annotated[
    Path,
    typer.Option(
        "-w",
        "--work",
        "-o",
        "--out",
        envvar="HVIT_WORK",
        help="Folder where masks, tiles, features and models live.",
    ),
]
WORK_DEFAULT = Path("hvit-out")
Exclude = Annotated[
    Path | None,
    typer.Option("--exclude", help="CSV with a column slide_id: slides to leave out."),
]
Overwrite = Annotated[
    bool,
    typer.Option(
        "--overwrite",
        help="Make products again that exist with other settings.",
        rich_help_panel=_RUNNING,
    ),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Say what would be done, expected and needed; write nothing.",
        rich_help_panel=_RUNNING,
    ),
]
Json = Annotated[
    bool, typer.Option("--json", help="Print the results as JSON.", rich_help_panel=_RUNNING)
]
Seed = Annotated[
    int,
    typer.Option("--seed", help="Seed of everything drawn at random.", rich_help_panel=_RUNNING),
]

SpacingUm = Annotated[float, _option(ReadingSettings, "spacing_um", "--spacing", panel=_READING)]
SpacingTolerance = Annotated[
    float, _option(ReadingSettings, "spacing_tolerance", "--spacing-tolerance", panel=_READING)
]
SpacingOverride = Annotated[
    float | None,
    _option(ReadingSettings, "spacing_override", "--spacing-override", panel=_READING),
]
SpacingFromObjective = Annotated[
    bool,
    _option(ReadingSettings, "spacing_from_objective", "--spacing-from-objective", panel=_READING),
]

MaskDir = Annotated[Path | None, _option(TissueSettings, "mask_dir", "--mask-dir", panel=_TISSUE)]
MaskPattern = Annotated[
    str, _option(TissueSettings, "mask_pattern", "--mask-pattern", panel=_TISSUE)
]
TissueValue = Annotated[
    str, _option(TissueSettings, "tissue_values", "--tissue-value", panel=_TISSUE)
]
TISSUE_VALUE_DEFAULT = ",".join(map(str, TissueSettings.tissue_values))
Missing = Annotated[
    MissingMask, _option(TissueSettings, "missing_mask", "--missing-mask", panel=_TISSUE)
]
TissueGeojson = Annotated[
    Path | None, _option(TissueSettings, "tissue_geojson", "--tissue-geojson", panel=_TISSUE)
]
SegmentSpacing = Annotated[
    float, _option(TissueSettings, "segment_spacing_um", "--segment-spacing", panel=_TISSUE)
]

RegionPx = Annotated[int, _option(TilingSettings, "region_px", "--region", panel=_REGIONS)]
PatchPx = Annotated[int, _option(TilingSettings, "patch_px", "--patch", panel=_REGIONS)]
GridKind = Annotated[Grid, _option(TilingSettings, "grid", "--grid", panel=_REGIONS)]
MinTissueFraction = Annotated[
    float, _option(TilingSettings, "min_tissue_fraction", "--min-tissue", panel=_REGIONS)
]
BackgroundBelow = Annotated[
    float, _option(TilingSettings, "background_below", "--background-below", panel=_REGIONS)
]

Encoder = Annotated[str | None, _option(EmbeddingSettings, "encoder", "--encoder", panel=_MODEL)]
EncoderNormalisation = Annotated[
    Normalisation | None,
    _option(EmbeddingSettings, "normalisation", "--normalisation", panel=_MODEL),
]
EncoderInputKind = Annotated[
    EncoderInput, _option(EmbeddingSettings, "encoder_input", "--encoder-input", panel=_MODEL)
]
PrecisionKind = Annotated[
    Precision,
    _option(EmbeddingSettings, "precision", "--precision", panel=_RUNNING, envvar="HVIT_PRECISION"),
]
Device = Annotated[str, _option(EmbeddingSettings, "device", "--device", panel=_RUNNING)]
BatchSize = Annotated[int, _option(EmbeddingSettings, "batch_size", "--batch-size", panel=_RUNNING)]
Masked = Annotated[
    bool | None,
    typer.Option(
        "--masked/--plain",
        help="Let background patches stay unseen (masked), or attend to everything (plain).",
        show_default=False,
        rich_help_panel=_MODEL,
    ),
]
MaskLevelKind = Annotated[
    MaskLevel | None, _option(EmbeddingSettings, "mask_level", "--mask-level", panel=_MODEL)
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        envvar="HVIT_MODEL",
        help="Model folder, or demo for the bundled demonstration model.",
        rich_help_panel=_MODEL,
    ),
]

Jobs = Annotated[int, _option(RunSettings, "jobs", "--jobs", "-j", panel=_MANY)]
Timeout = Annotated[float | None, _option(RunSettings, "timeout", "--timeout", panel=_MANY)]
MemoryLimit = Annotated[
    float | None, _option(RunSettings, "memory_limit", "--memory-limit", panel=_MANY)
]
Retries = Annotated[int, _option(RunSettings, "retries", "--retries", panel=_MANY)]
RetryFailed = Annotated[bool, _option(RunSettings, "retry_failed", "--retry-failed", panel=_MANY)]
Verify = Annotated[bool, _option(RunSettings, "verify", "--verify", panel=_MANY)]
ShardOf = Annotated[str | None, _option(RunSettings, "shard", "--shard", panel=_MANY)]
ClaimSlides = Annotated[bool, _option(RunSettings, "claim", "--claim/--no-claim", panel=_MANY)]
ClaimTtl = Annotated[float, _option(RunSettings, "claim_ttl", "--claim-ttl", panel=_MANY)]
EngineKind = Annotated[Engine, _option(RunSettings, "engine", "--engine", panel=_MANY)]
Gpus = Annotated[float, _option(RunSettings, "gpus", "--gpus", panel=_MANY)]
WorkerTimeout = Annotated[
    float, _option(RunSettings, "worker_timeout", "--worker-timeout", panel=_MANY)
]

# A model knows these; given beside a model they must agree with it, so they default to None.
ModelRegionPx = Annotated[
    int | None, _option(TilingSettings, "region_px", "--region", panel=_REGIONS)
]
ModelPatchPx = Annotated[int | None, _option(TilingSettings, "patch_px", "--patch", panel=_REGIONS)]
ModelSpacingUm = Annotated[
    float | None, _option(ReadingSettings, "spacing_um", "--spacing", panel=_READING)
]
ModelSpacingTolerance = Annotated[
    float | None,
    _option(ReadingSettings, "spacing_tolerance", "--spacing-tolerance", panel=_READING),
]


# Tables of predictions and labels, as evaluate and compare read them.
_TABLES, _INTERVALS = "Tables", "Intervals"


def _table_option(panel: str, name: str, text: str) -> Any:
    return typer.Option(name, help=text, rich_help_panel=panel)


IdColumn = Annotated[str | None, _table_option(_TABLES, "--id-column", "Heading of the slide ids.")]
PredictionColumn = Annotated[
    str | None, _table_option(_TABLES, "--prediction-column", "Heading of the predicted grades.")
]
ScoreColumn = Annotated[
    str | None, _table_option(_TABLES, "--score-column", "Heading of the unrounded scores.")
]
LabelColumn = Annotated[
    str | None, _table_option(_TABLES, "--label-column", "Heading of the labels.")
]
ClassCount = Annotated[
    int, _table_option(_TABLES, "--grades", "Number of classes; labels run from 0.")
]
GroupColumn = Annotated[
    list[str] | None,
    _table_option(_INTERVALS, "--group-column", "Column whose equal values are drawn together."),
]
GroupTable = Annotated[
    list[Path] | None,
    _table_option(_INTERVALS, "--group-table", "Table of groups that are drawn together."),
]


def _listen(verbose: bool) -> bool:
    from hvit_cli.cli.console import listen

    listen(verbose)
    return verbose


Verbose = Annotated[
    bool,
    typer.Option(
        "-v",
        "--verbose",
        callback=_listen,
        help="Say more about what is done; warnings are always said.",
        rich_help_panel=_RUNNING,
    ),
]


def attention_of(masked: bool | None) -> Attention | None:
    """The attention that `--masked/--plain` asks for; None where neither was given."""
    if masked is None:
        return None
    return "masked" if masked else "plain"


def tissue_values(text: str) -> tuple[int, ...]:
    """The values in `--tissue-value 1,2,3`.

    Raises:
        UsageError: Something else than whole numbers with commas between them.
    """
    return mask_values(text, "--tissue-value")


def mask_values(text: str, option: str) -> tuple[int, ...]:
    """The values of a mask in an option such as `--tumour-values 3,4,5`.

    Raises:
        UsageError: Something else than whole numbers with commas between them.
    """
    from hvit_cli.errors import UsageError

    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(
            "these are no mask values",
            where=option,
            found=repr(text),
            wanted="whole numbers with commas between them, such as 1,2,3",
        ) from error
