"""`hvit bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hvit_cli.cli import console, options, speeds
from hvit_cli.errors import UsageError
from hvit_cli.settings import (
    AggregatorSettings,
    EmbeddingSettings,
    PretrainingSettings,
    ReadingSettings,
    sentence,
)

_SLIDE, _TRAIN, _PRETRAIN = "bench SLIDE", "bench train", "bench pretrain"
_GUARD = "Ratios"


def bench(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="SLIDE|train|pretrain",
            help="A slide (a drawn one by default): every stage from its bytes to its map, beside "
            "what the machine could do. train: a training step, packed and slide by slide. "
            "pretrain: reading and cropping patches, learning from them, and both together.",
            show_default=False,
        ),
    ] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Measure ratios instead, and end with code 1 where one fell below the record.",
            rich_help_panel=_GUARD,
        ),
    ] = False,
    against: Annotated[
        Path | None,
        typer.Option(
            "--against",
            help="The record for --check; the one that comes with hvit by default.",
            rich_help_panel=_GUARD,
        ),
    ] = None,
    record: Annotated[
        Path | None,
        typer.Option(
            "--record",
            help="Measure the ratios and write them as a record (JSON).",
            rich_help_panel=_GUARD,
        ),
    ] = None,
    patches: Annotated[
        int | None,
        typer.Option(
            "--patches",
            min=1,
            help="Patches to embed in a turn; two batches on a processor by default.",
            rich_help_panel=_SLIDE,
            show_default=False,
        ),
    ] = None,
    price_per_hour: Annotated[
        float | None,
        typer.Option(
            "--price-per-hour",
            min=0,
            help="Price of an hour of this machine, to say what 1,000 biopsies cost.",
            rich_help_panel=_SLIDE,
        ),
    ] = None,
    encoder: options.Encoder = EmbeddingSettings.encoder,
    model: options.Model = None,
    batch_size: options.BatchSize = EmbeddingSettings.batch_size,
    spacing_override: options.SpacingOverride = None,
    slides: Annotated[
        int, typer.Option("--slides", min=1, help="Slides of a step.", rich_help_panel=_TRAIN)
    ] = 32,
    regions: Annotated[
        tuple[int, int],
        typer.Option(
            "--regions", help="Fewest and most regions of a slide.", rich_help_panel=_TRAIN
        ),
    ] = (3, 10),
    background: Annotated[
        float,
        typer.Option(
            "--background",
            min=0,
            max=0.95,
            help="Share of patches without tissue.",
            rich_help_panel=_TRAIN,
        ),
    ] = 0.6,
    slide: Annotated[
        Path | None,
        typer.Option(
            "--slide",
            help="Slide whose patches are read; a drawn one by default.",
            rich_help_panel=_PRETRAIN,
        ),
    ] = None,
    batch: Annotated[
        int, typer.Option("--batch", min=1, help="Patches of a step.", rich_help_panel=_PRETRAIN)
    ] = 32,
    steps: Annotated[
        int, typer.Option("--steps", min=1, help="Steps of a turn.", rich_help_panel=_PRETRAIN)
    ] = 4,
    width: Annotated[
        int,
        typer.Option(
            "--width", help=sentence(PretrainingSettings, "width"), rich_help_panel=_PRETRAIN
        ),
    ] = PretrainingSettings.width,
    depth: Annotated[
        int,
        typer.Option(
            "--depth", help=sentence(PretrainingSettings, "depth"), rich_help_panel=_PRETRAIN
        ),
    ] = PretrainingSettings.depth,
    heads: Annotated[
        int,
        typer.Option(
            "--heads", help=sentence(PretrainingSettings, "heads"), rich_help_panel=_PRETRAIN
        ),
    ] = PretrainingSettings.heads,
    loader_threads: Annotated[
        int,
        typer.Option(
            "--loader-threads",
            min=1,
            help="Threads that read and crop patches.",
            rich_help_panel=_PRETRAIN,
        ),
    ] = 1,
    repeats: Annotated[
        int, typer.Option("--repeats", min=1, help="Timed turns; medians are reported.")
    ] = 5,
    threads: Annotated[
        int | None,
        typer.Option("--threads", min=1, help="Threads of PyTorch; its own choice by default."),
    ] = None,
    device: options.Device = EmbeddingSettings.device,
    precision: options.PrecisionKind = EmbeddingSettings.precision,
    seed: options.Seed = 0,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Measure on this machine what hvit says about its speed."""
    if what in ("train", "pretrain") and (check or record):
        raise UsageError("ratios are measured on a slide", where=what, hint=f"without {what}")
    if check and record:
        raise UsageError("--check and --record exclude each other")
    from hvit_cli.models.device import choose_device
    from hvit_cli.pipelines.bench import (
        BenchmarkSettings,
        PretrainingBenchmarkSettings,
        bench_pretrain,
        bench_slide,
        bench_train,
        check_ratios,
        record_ratios,
    )
    from hvit_cli.storage.atomic import require_writable

    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    if what not in ("train", "pretrain"):
        path = None if what is None else Path(what)
        embedding = EmbeddingSettings(
            encoder=encoder, precision=precision, device=device, batch_size=batch_size
        )
        reading = ReadingSettings(spacing_override=spacing_override)
        if record is not None:
            require_writable(record.parent)
            record_ratios(path, out=record, embedding=embedding, reading=reading, repeats=repeats)
            console.note(f"recorded in {record}")
            return
        if check:
            checked = check_ratios(
                path, against=against, embedding=embedding, reading=reading, repeats=repeats
            )
            console.say_json(checked) if as_json else speeds.show_ratios(checked)
            for fallen in checked.fallen:
                console.note(speeds.fallen_line(fallen))
            if checked.fallen:
                raise typer.Exit(1)
            return
        measured = bench_slide(
            path,
            model=model,
            embedding=embedding,
            reading=reading,
            repeats=repeats,
            patches=patches,
            price_per_hour=price_per_hour,
            watch=console.note,
        )
        console.say_json(measured) if as_json else speeds.show_slide(measured)
        return
    # These compare ways of computing, for which one number format is as good as another.
    if precision == "auto":
        precision = "float32"
    if what == "train":
        trained = bench_train(
            BenchmarkSettings(
                slides=slides,
                regions=regions,
                background=background,
                repeats=repeats,
                device=str(choose_device(device)),
                precision=precision,
                sizes=AggregatorSettings(dropout=0),
                seed=seed,
            )
        )
        console.say_json(trained) if as_json else speeds.show_training(trained, repeats)
        return
    pretrained = bench_pretrain(
        PretrainingBenchmarkSettings(
            settings=PretrainingSettings(
                width=width, depth=depth, heads=heads, batch=batch, precision=precision, seed=seed
            ),
            steps=steps,
            repeats=repeats,
            threads=loader_threads,
            device=str(choose_device(device)),
        ),
        slide,
    )
    console.say_json(pretrained) if as_json else speeds.show_pretraining(pretrained, repeats)
