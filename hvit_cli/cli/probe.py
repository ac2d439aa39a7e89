"""`hvit probe`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hvit_cli.cli import console, options
from hvit_cli.settings import (
    EmbeddingSettings,
    ProbeSettings,
    ReadingSettings,
    TilingSettings,
    sentence,
)

if TYPE_CHECKING:
    from hvit_cli.pipelines.probe import Gain, Probed, ProbeForecast
    from hvit_cli.training.bootstrap import Interval

_PROBE = "Probe"


class BaselineKind(Enum):
    """The values of `--baseline`, in a form that Typer takes several times."""

    colour_histogram = "colour-histogram"
    random = "random"


def _option(panel: str, *names: str, text: str) -> Any:
    return typer.Option(*names, help=text, rich_help_panel=panel)


def probe(
    patches: Annotated[
        Path,
        typer.Argument(
            help="Table of labelled patches: slide_id, path, x_level0, y_level0, label, "
            "and group and part (bank or query) where they are known.",
            show_default=False,
        ),
    ],
    encoder: Annotated[
        list[str] | None,
        _option(
            _PROBE, "--encoder", text="A timm name, hf-hub:…, a file or a folder; may be repeated."
        ),
    ] = None,
    baseline: Annotated[
        list[BaselineKind] | None,
        _option(_PROBE, "--baseline", text="Features that were never learned, to compare with."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Table of the numbers (CSV).")
    ] = None,
    neighbours: Annotated[
        int, _option(_PROBE, "--neighbours", text=sentence(ProbeSettings, "neighbours"))
    ] = ProbeSettings.neighbours,
    temperature: Annotated[
        float, _option(_PROBE, "--temperature", text=sentence(ProbeSettings, "temperature"))
    ] = ProbeSettings.temperature,
    draws: Annotated[
        int,
        _option(_PROBE, "--draws", text="Draws of groups for the intervals, 0 for no intervals."),
    ] = 2000,
    allow_seen: Annotated[
        bool,
        _option(_PROBE, "--allow-seen", text="Judge encoders by slides they were trained on."),
    ] = False,
    spacing_um: Annotated[
        float | None,
        _option("Reading", "--spacing", text="Target spacing in µm per pixel; the encoders' own."),
    ] = None,
    patch_px: options.PatchPx = TilingSettings.patch_px,
    spacing_tolerance: options.SpacingTolerance = ReadingSettings.spacing_tolerance,
    spacing_override: options.SpacingOverride = None,
    spacing_from_objective: options.SpacingFromObjective = False,
    normalisation: options.EncoderNormalisation = None,
    encoder_input: options.EncoderInputKind = EmbeddingSettings.encoder_input,
    precision: options.PrecisionKind = EmbeddingSettings.precision,
    device: options.Device = EmbeddingSettings.device,
    batch_size: options.BatchSize = EmbeddingSettings.batch_size,
    seed: options.Seed = 0,
    dry_run: options.DryRun = False,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Tell labelled patches by their nearest neighbours: what features are worth."""
    from hvit_cli.pipelines import probe as pipeline
    from hvit_cli.storage.atomic import require_writable

    request = pipeline.ProbeRequest(
        patches=patches,
        encoders=tuple(encoder or ()),
        baselines=tuple(kind.value for kind in baseline or ()),
        spacing_um=spacing_um,
        reading=ReadingSettings(
            spacing_um=ReadingSettings.spacing_um if spacing_um is None else spacing_um,
            spacing_tolerance=spacing_tolerance,
            spacing_override=spacing_override,
            spacing_from_objective=spacing_from_objective,
        ),
        patch_px=patch_px,
        embedding=EmbeddingSettings(
            normalisation=normalisation,
            encoder_input=encoder_input,
            precision=precision,
            device=device,
            batch_size=batch_size,
        ),
        probe=ProbeSettings(neighbours=neighbours, temperature=temperature),
        draws=draws,
        seed=seed,
        allow_seen=allow_seen,
    )
    if dry_run:
        _foretell(pipeline.forecast_probe(request), as_json)
        return
    if out is not None:
        require_writable(out.parent)
    found = list(console.each_said(pipeline.probe(request), _line))
    if as_json:
        rows = [pipeline.summary(probed) for probed in found]
        gains = pipeline.gains(found, draws=draws, seed=seed)
        console.say_json({"features": rows, "gains": gains})
    else:
        _say(found, draws, seed)
        _say_gains(pipeline.gains(found, draws=draws, seed=seed))
    if out is not None:
        pipeline.write_probes(out, found)
        console.note(f"Written: {out}")


def _say_gains(gains: Sequence[Gain]) -> None:
    if not gains:
        return
    console.say_table(
        ("more than a baseline", "", "balanced accuracy", "accuracy", "AUROC"),
        (
            (
                one.features,
                f"− {one.baseline}",
                _signed(one.gain.balanced_accuracy),
                _signed(one.gain.accuracy),
                _signed(one.gain.auroc),
            )
            for one in gains
        ),
    )


def _signed(gain: Interval) -> str:
    if gain.value is None:
        return "undefined"
    ends = "" if gain.low is None else f" ({gain.low:+.3f} to {gain.high:+.3f})"
    return f"{gain.value:+.4f}{ends}"


def _foretell(told: ProbeForecast, as_json: bool) -> None:
    if as_json:
        console.say_json(told)
        return
    labels = ", ".join(f"{label}: {count}" for label, count in told.labels.items())
    console.say(
        f"patches: {told.patches} of {told.slides} slides in {told.groups} groups ({labels})"
    )
    console.say(f"features: {', '.join(told.features)}")
    console.say(f"leaks: {f'{len(told.seen)} slides, allowed' if told.seen else 'none found'}")
    console.say(f"time: {told.seconds:.0f} s to read and embed, as a few patches took just now")
    console.say(f"memory: {told.memory_bytes / 1e9:.2f} GB of pixels")
    console.say("Nothing was written.")


def _line(probed: Probed) -> str:
    return f"{probed.features}: balanced accuracy {probed.result.balanced_accuracy:.4f}"


def _say(found: Sequence[Probed], draws: int, seed: int) -> None:
    console.say_table(
        ("features", "width", "balanced accuracy", "accuracy", "AUROC"),
        (
            (
                probed.features,
                probed.width,
                console.interval(probed.result.measures.balanced_accuracy, 4),
                console.interval(probed.result.measures.accuracy, 4),
                console.interval(probed.result.measures.auroc, 4),
            )
            for probed in found
        ),
    )
    one = found[0]
    result = one.result
    count = Counter(result.classes[k] for k in result.told.label.tolist())
    classes = ", ".join(f"{name} {count[name]}" for name in result.classes)
    if result.in_turns:
        by = f"{result.patches} patches, each by those of the other {result.groups - 1} groups"
    else:
        by = f"{result.patches} patches of {result.groups} groups by {result.bank} others"
    console.say(
        f"Told: {by} ({classes}); {one.settings.neighbours} neighbours, temperature "
        f"{one.settings.temperature:g}, {one.spacing_um:g} µm/px. Chance: balanced accuracy "
        f"{1 / len(result.classes):.4f}, AUROC 0.5."
    )
    if draws:
        console.say(f"Intervals: 95 %, {draws} draws of the groups, seed {seed}.")
    for probed in found:
        if probed.seen:
            console.say(
                f"To look at: {probed.features} was trained on {len(probed.seen)} of the slides "
                "that judge it."
            )
