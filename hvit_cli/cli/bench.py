"""`hvit bench`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from hvit_cli.cli import console, options
from hvit_cli.settings import (
    AggregatorSettings,
    EmbeddingSettings,
    Precision,
    PretrainingSettings,
    sentence,
)

if TYPE_CHECKING:
    from hvit_cli.pipelines.bench import BenchmarkResult, PretrainingBenchmarkResult

_TRAIN, _PRETRAIN = "bench train", "bench pretrain"


def bench(
    what: Annotated[
        Literal["train", "pretrain"],
        typer.Argument(
            help="train: a training step, packed and slide by slide. pretrain: reading and "
            "cropping patches, learning from them, and both together."
        ),
    ],
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
    precision: Annotated[
        Precision, typer.Option("--precision", help="Number format, the same for all.")
    ] = "float32",
    seed: options.Seed = 0,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Measure on this machine what hvit says about its speed."""
    from hvit_cli.models.device import choose_device
    from hvit_cli.pipelines.bench import (
        BenchmarkSettings,
        PretrainingBenchmarkSettings,
        bench_pretrain,
        bench_train,
    )

    if threads is not None:
        import torch

        torch.set_num_threads(threads)
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
        console.say_json(trained) if as_json else _show_training(trained, repeats)
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
    console.say_json(pretrained) if as_json else _show_pretraining(pretrained, repeats)


def _show_training(result: BenchmarkResult, repeats: int) -> None:
    patches, tissue = result.patches
    console.note(
        f"{result.slides} slides a step, {result.regions} regions, {patches} patches, "
        f"{1 - tissue / patches:.0%} background; {result.device}, {result.precision}, "
        f"{result.threads} threads; medians of {repeats} interleaved turns"
    )
    console.say_table(
        ("way", "seconds a step", "fewest", "most", "times as long as packed"),
        (
            (
                way,
                f"{result.median[way]:.3f}",
                f"{min(turns):.3f}",
                f"{max(turns):.3f}",
                f"{result.ratio[way]:.2f}",
            )
            for way, turns in result.seconds.items()
        ),
    )


def _show_pretraining(result: PretrainingBenchmarkResult, repeats: int) -> None:
    console.note(
        f"{result.patches} patches a turn, of {result.pool}; {result.device}, {result.precision}, "
        f"{result.model_threads} threads of PyTorch, {result.threads} of the loader; "
        f"medians of {repeats} interleaved turns"
    )
    console.say_table(
        ("way", "patches a second", "fewest", "most"),
        (
            (
                way,
                f"{result.patches_per_second[way]:.2f}",
                f"{result.patches / max(turns):.2f}",
                f"{result.patches / min(turns):.2f}",
            )
            for way, turns in result.seconds.items()
        ),
    )
    console.note(
        f"together {result.ratio:.0%} of the {result.possible:.2f} patches a second that are "
        "possible here"
    )
