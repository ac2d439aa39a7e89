"""`hvit bench`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from hvit_cli.cli import console, options
from hvit_cli.settings import AggregatorSettings, EmbeddingSettings, Precision


def bench(
    what: Annotated[
        Literal["train"],
        typer.Argument(help="train: a training step, packed and slide by slide."),
    ],
    slides: Annotated[int, typer.Option("--slides", min=1, help="Slides of a step.")] = 32,
    regions: Annotated[
        tuple[int, int],
        typer.Option("--regions", help="Fewest and most regions of a slide."),
    ] = (3, 10),
    background: Annotated[
        float,
        typer.Option("--background", min=0, max=0.95, help="Share of patches without tissue."),
    ] = 0.6,
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
    from hvit_cli.pipelines.bench import BenchmarkSettings, bench_train

    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    result = bench_train(
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
    if as_json:
        console.say_json(result)
        return
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
