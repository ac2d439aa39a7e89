"""All stages of one slide, each alone and from reading to the score, beside their limits."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

import torch

from hvit_cli.benchmarks.advice import Trials, advice
from hvit_cli.benchmarks.computing import (
    EMBED,
    EMBED_LIMIT,
    TOGETHER,
    aggregate_stage,
    embed_stage,
    heatmap_stage,
    products_at,
    together,
    train_stage,
)
from hvit_cli.benchmarks.loading import feature_files, loading_stage, loading_ways
from hvit_cli.benchmarks.machine import Machine, describe_machine, usable_cores
from hvit_cli.benchmarks.products import synchronise
from hvit_cli.benchmarks.reading import reading_stages
from hvit_cli.benchmarks.stage import Stage, StageResult, bottleneck_of, stage_results
from hvit_cli.benchmarks.turns import Way, ratio_of, take_turns, warm_up
from hvit_cli.benchmarks.workload import Workload

_ONE_THREAD = "embed, one thread"
_TRAINED_SLIDES = 8
# Patches of a turn, in batches: seconds on a processor, a fraction of one on a GPU.
_BATCHES, _GPU_BATCHES = 2, 32

Watch = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class SlideBenchmark:
    """What one slide costs on this machine, and where the time goes.

    Attributes:
        slide_id: The slide.
        decoder: The library that decodes its pixels.
        regions: Regions of the slide.
        patches: Their patches.
        tissue_patches: Those with tissue, which masked attention looks at.
        sampled_patches: Patches that were embedded in a turn, standing for all.
        spacing_um: Spacing at which patches are read.
        encoder: The patch encoder.
        precision: Number format of its arithmetic.
        batch_size: Its patches of a step.
        model: The model.
        machine: Where this was measured.
        repeats: Timed turns of everything.
        stages: Each stage.
        seconds_per_slide: Sum over the stages of a slide, one after another.
        seconds_to_score: From the first region read to the score, as hvit overlaps it.
        busy: Part of that time in which the patch encoder computes.
        bottleneck: The stage with the greatest share.
        advice: Settings to try, most promising first.
        price_per_hour: What the machine costs, as told; None where it was not.
        price_per_1000: Of 1,000 slides like this one, graded one after another.
    """

    slide_id: str
    decoder: str
    regions: int
    patches: int
    tissue_patches: int
    sampled_patches: int
    spacing_um: float
    encoder: str
    precision: str
    batch_size: int
    model: str
    machine: Machine
    repeats: int
    stages: tuple[StageResult, ...]
    seconds_per_slide: float
    seconds_to_score: float
    busy: float
    bottleneck: str
    advice: tuple[str, ...]
    price_per_hour: float | None
    price_per_1000: float | None


def run_slide_benchmark(
    workload: Workload,
    *,
    repeats: int,
    patches: int | None = None,
    price_per_hour: float | None = None,
    watch: Watch = lambda _: None,
) -> SlideBenchmark:
    """Times every stage of a slide.

    Args:
        workload: Slide and model.
        repeats: Timed turns of everything.
        patches: Patches to embed in a turn; a few batches by default.
        price_per_hour: What an hour of this machine costs, in any currency.
        watch: Told what is done next.

    Raises:
        HvitError: The slide cannot be decoded, or a network fails.
    """
    on_gpu = workload.device.type == "cuda"
    batches = _GPU_BATCHES if on_gpu else _BATCHES
    sample = min(patches or batches * workload.embedding.batch_size, workload.tissue_patches)
    with ExitStack() as stack:
        watch("reading tissue patches and preparing every stage")
        stages, ways = reading_stages(workload)
        for stage, more in (
            embed_stage(workload, sample),
            aggregate_stage(workload),
            train_stage(workload, _TRAINED_SLIDES),
        ):
            stages.append(stage)
            ways |= more
        files = stack.enter_context(feature_files(workload.made_up_features, _TRAINED_SLIDES))
        loading = loading_ways(workload, files)
        stages += [
            heatmap_stage(workload),
            loading_stage(loading, _TRAINED_SLIDES),
            together(workload, sample),
        ]
        trials = _Trials(workload, next(s for s in stages if s.name == EMBED))
        ways |= {stage.name: stage.run for stage in stages} | loading | trials.ways
        watch("a first turn of everything, not timed")
        memory = warm_up(ways)
        watch(f"{repeats} timed turns of everything")
        seconds = take_turns(ways, repeats)
    results = stage_results(stages, seconds, memory)
    return _summary(workload, results, seconds, trials, stages, repeats, price_per_hour)


class _Trials:
    """Other settings of the patch encoder, timed in the same turns."""

    def __init__(self, workload: Workload, embed: Stage) -> None:
        self._workload = workload
        self._embed = embed
        batch = workload.embedding.batch_size
        encoder = workload.embedder.encoder
        self.ways: dict[str, Way] = {}
        self.precisions: dict[str, str] = {}
        others = {"float32", "bfloat16"} - {encoder.precision}
        for precision in sorted(others):
            products = products_at(workload, precision)  # type: ignore[arg-type]  # two of them
            if products is not None:
                self.precisions[precision] = f"embed limit, {precision}"
                self.ways[self.precisions[precision]] = products
        self.threads = torch.get_num_threads()
        if self.threads > 1 and workload.device.type == "cpu":
            self.ways[_ONE_THREAD] = self._on_one_thread
        self.batch = batch

    def _on_one_thread(self) -> None:
        torch.set_num_threads(1)
        try:
            self._embed.run()
        finally:
            torch.set_num_threads(self.threads)

    def outcome(self, seconds: dict[str, tuple[float, ...]]) -> Trials:
        """What they showed."""
        workload, embed = self._workload, seconds[EMBED]
        one = seconds.get(_ONE_THREAD)
        return Trials(
            precision=workload.embedder.encoder.precision,
            precisions={
                precision: ratio_of(seconds[EMBED_LIMIT], seconds[way])[0]
                for precision, way in self.precisions.items()
            },
            batch=self.batch,
            batches={},
            threads=self.threads,
            cores=usable_cores(),
            one_thread=ratio_of(embed, one)[0] if one else None,
            kept=workload.tissue_patches / workload.wanted.size,
            on_gpu=workload.device.type == "cuda",
        )


def _summary(
    workload: Workload,
    results: tuple[StageResult, ...],
    seconds: dict[str, tuple[float, ...]],
    trials: _Trials,
    stages: list[Stage],
    repeats: int,
    price_per_hour: float | None,
) -> SlideBenchmark:
    synchronise(workload.device)
    both = next(result for result in results if result.name == TOGETHER)
    sample = next(stage for stage in stages if stage.name == TOGETHER)
    encoder, features = workload.embedder.encoder, workload.made_up_features
    outside = sum(r.seconds_per_slide for r in results if r.name == "segment")
    to_score = both.seconds_per_slide
    price = None
    if price_per_hour is not None:
        price = 1000 * (outside + to_score) / 3600 * price_per_hour
    return SlideBenchmark(
        slide_id=workload.entry.slide_id,
        decoder=workload.slide.decoder_name,
        regions=features.n_regions,
        patches=workload.wanted.size,
        tissue_patches=workload.tissue_patches,
        sampled_patches=int(sample.amount),
        spacing_um=workload.plan.spacing_um,
        encoder=encoder.spec.name,
        precision=encoder.precision,
        batch_size=workload.embedding.batch_size,
        model=workload.model.folder.name,
        machine=describe_machine(workload.device),
        repeats=repeats,
        stages=results,
        seconds_per_slide=sum(r.seconds_per_slide for r in results if r.share is not None),
        seconds_to_score=to_score,
        busy=min(ratio_of(seconds[EMBED], seconds[TOGETHER])[0], 1.0),
        bottleneck=bottleneck_of(results),
        advice=advice(results, trials.outcome(seconds)),
        price_per_hour=price_per_hour,
        price_per_1000=price,
    )
