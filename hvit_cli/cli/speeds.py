"""What a person sees of measured speeds: tables on stdout, what they were measured on beside."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hvit_cli.cli import console

if TYPE_CHECKING:
    from hvit_cli.pipelines.bench import (
        BenchmarkResult,
        PretrainingBenchmarkResult,
        RatioCheck,
        SlideBenchmark,
        Verdict,
    )


def show_training(result: BenchmarkResult, repeats: int) -> None:
    """The ways of a training step."""
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


def show_pretraining(result: PretrainingBenchmarkResult, repeats: int) -> None:
    """Reading, learning and both."""
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


def show_slide(result: SlideBenchmark) -> None:
    """Every stage of a slide, the bottleneck, and what to try."""
    machine = result.machine
    console.note(
        f"{result.slide_id}: {result.regions} regions, {result.tissue_patches} of "
        f"{result.patches} patches with tissue; {result.decoder}, {result.encoder} in "
        f"{result.precision} on {machine.device}; {machine.processor}, {machine.cores} cores, "
        f"{machine.threads} threads; medians of {result.repeats} interleaved turns"
    )
    console.say_table(
        ("stage", "a second", "s a slide", "share", "MiB", "measured against", "limit", "of limit"),
        (
            (
                stage.name,
                f"{_short(stage.rate)} {stage.unit}",
                f"{stage.seconds_per_slide:.3f}",
                "" if stage.share is None else f"{stage.share:.1%}",
                "" if stage.memory_mib is None else f"{stage.memory_mib:.0f}",
                stage.limit,
                "" if stage.limit_rate is None else _short(stage.limit_rate),
                "" if stage.share_of_limit is None else f"{stage.share_of_limit:.0%}",
            )
            for stage in result.stages
        ),
    )
    console.note(
        f"one slide: {result.seconds_per_slide:.1f} s stage by stage; from the first region read "
        f"to the score {result.seconds_to_score:.1f} s, of which the encoder computes "
        f"{result.busy:.0%}"
    )
    console.note(f"bottleneck: {result.bottleneck}")
    for line in result.advice:
        console.note(f"try: {line}")
    if result.price_per_1000 is not None:
        console.note(
            f"1,000 such slides: {result.price_per_1000:.2f} at {result.price_per_hour:g} an hour"
        )


def _short(rate: float) -> str:
    return f"{rate:.0f}" if rate >= 100 else f"{rate:.1f}" if rate >= 10 else f"{rate:.2f}"


def show_ratios(result: RatioCheck) -> None:
    """Measured ratios beside recorded ones."""
    console.note(f"{result.slide_id}, against {result.record}")
    console.say_table(
        ("ratio", "measured", "lowest", "highest", "recorded", "least"),
        (
            (
                verdict.name,
                *(
                    ("", "", "")
                    if verdict.measured is None
                    else (
                        f"{verdict.measured.median:.2f}",
                        f"{verdict.measured.lowest:.2f}",
                        f"{verdict.measured.highest:.2f}",
                    )
                ),
                *(
                    ("", "")
                    if verdict.recorded is None
                    else (f"{verdict.recorded.ratio:.2f}", f"{verdict.recorded.least:.2f}")
                ),
            )
            for verdict in result.verdicts
        ),
    )


def fallen_line(verdict: Verdict) -> str:
    """Says which ratio fell, and how far."""
    found = "not measured" if verdict.measured is None else f"{verdict.measured.median:.2f}"
    least = "" if verdict.recorded is None else f", at least {verdict.recorded.least:.2f} is wanted"
    return f"fallen: {verdict.name} {found}{least}"
