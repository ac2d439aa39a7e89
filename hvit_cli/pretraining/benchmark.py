"""Whether reading and cropping keeps up with the network: each alone, and both together.

Every way handles the same number of batches in its turn, started from rest. The ways take
turns, so that a busy machine slows all of them alike; medians are reported.

    slides    patches read from slides and made into crops
    cache     the same from the packed cache
    model     a whole step of learning, again and again on one batch that is there
    together  learning from patches read from slides

On a processor loader and model share the cores: nothing better than the sum of their times is
to be had, 1 / (1/loader + 1/model). A GPU computes on its own, and the slower of the two sets
the pace.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch

from hvit_cli.models.encoder_specs import IMAGENET_MEAN, IMAGENET_STD
from hvit_cli.pretraining.augment import Augmentation
from hvit_cli.pretraining.distillation import Distillation
from hvit_cli.pretraining.loader import PatchLoader
from hvit_cli.pretraining.networks import new_backbones
from hvit_cli.pretraining.order import WINDOW, PatchOrder
from hvit_cli.pretraining.patches import PatchReader
from hvit_cli.pretraining.schedules import Schedules
from hvit_cli.settings import AugmentationSettings, CropSettings, PretrainingSettings

SLIDES = "slides"
CACHE = "cache"
MODEL = "model"
TOGETHER = "together"


@dataclass(frozen=True, kw_only=True)
class PretrainingBenchmarkSettings:
    """What is timed.

    Attributes:
        settings: Network, head and batch.
        crops: Which parts of a patch are cut out.
        augmentation: How they are altered.
        steps: Batches of a turn.
        repeats: Timed turns of each way; one more is not timed.
        threads: Threads that read and crop.
        device: Where the network computes.
    """

    settings: PretrainingSettings = field(default_factory=PretrainingSettings)
    crops: CropSettings = field(default_factory=CropSettings)
    augmentation: AugmentationSettings = field(default_factory=AugmentationSettings)
    steps: int = 4
    repeats: int = 5
    threads: int = 1
    device: str = "cpu"


@dataclass(frozen=True, kw_only=True)
class PretrainingBenchmarkResult:
    """Patches per second.

    Attributes:
        seconds: Of every timed turn, by way.
        patches_per_second: Median, by way.
        possible: What loader and model could reach together on this device.
        ratio: What they reach together, as a share of that.
        patches: Patches of a turn.
        pool: Patches to draw from.
        threads: Threads that read and crop.
        model_threads: Threads of PyTorch.
        device: Where the network computed.
        precision: Number format asked for.
    """

    seconds: dict[str, tuple[float, ...]]
    patches_per_second: dict[str, float]
    possible: float
    ratio: float
    patches: int
    pool: int
    threads: int
    model_threads: int
    device: str
    precision: str


def possible_rate(loader: float, model: float, device: str) -> float:
    """Patches per second that loader and model can reach together."""
    if torch.device(device).type == "cpu":
        return 1 / (1 / loader + 1 / model)
    return min(loader, model)


def run_pretraining_benchmark(
    benchmark: PretrainingBenchmarkSettings, slides: PatchReader, cache: PatchReader
) -> PretrainingBenchmarkResult:
    """Times loader, model and both.

    Args:
        benchmark: What is timed.
        slides: Reads the pool's patches from slides.
        cache: Reads them from the cache.

    Raises:
        UsageError: The pool holds fewer patches than a batch takes.
        ModelError: The network cannot be trained, or memory ran out.
    """
    with _sources(benchmark, slides, cache) as sources:
        ways = _ways(benchmark, sources)
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(benchmark.repeats + 1):
            for name, way in ways.items():
                started = time.perf_counter()
                way(turn)
                if turn:
                    seconds[name].append(time.perf_counter() - started)
    patches = benchmark.steps * benchmark.settings.batch
    rate = {name: patches / float(np.median(turns)) for name, turns in seconds.items()}
    possible = possible_rate(rate[SLIDES], rate[MODEL], benchmark.device)
    return PretrainingBenchmarkResult(
        seconds={name: tuple(turns) for name, turns in seconds.items()},
        patches_per_second=rate,
        possible=possible,
        ratio=rate[TOGETHER] / possible,
        patches=patches,
        pool=len(slides.pool),
        threads=benchmark.threads,
        model_threads=torch.get_num_threads(),
        device=benchmark.device,
        precision=benchmark.settings.precision,
    )


@contextmanager
def _sources(
    benchmark: PretrainingBenchmarkSettings, slides: PatchReader, cache: PatchReader
) -> Iterator[dict[str, PatchLoader]]:
    """A loader for each place that patches come from."""
    settings = benchmark.settings
    made: dict[str, PatchLoader] = {}
    try:
        for name, reader, window in ((SLIDES, slides, WINDOW), (CACHE, cache, None)):
            augmentation = Augmentation(
                crops=benchmark.crops,
                changes=benchmark.augmentation,
                patch_px=reader.pool.patch_px,
                mean=IMAGENET_MEAN,
                std=IMAGENET_STD,
                seed=settings.seed,
            )
            made[name] = PatchLoader(
                reader,
                PatchOrder(reader.pool.first, settings.seed, window),
                augmentation,
                batch=settings.batch,
                threads=benchmark.threads,
            )
        yield made
    finally:
        # Last made, first closed: each gives OpenCV's threads back as it found them.
        for loader in reversed(made.values()):
            loader.close()


def _ways(
    benchmark: PretrainingBenchmarkSettings, sources: dict[str, PatchLoader]
) -> dict[str, Callable[[int], None]]:
    """What is timed, each a function of the turn's number."""
    settings, count = benchmark.settings, benchmark.steps
    device = torch.device(benchmark.device)
    backbones = new_backbones(settings, benchmark.crops).to(device)
    schedules = Schedules(settings=settings, steps_per_epoch=count * (benchmark.repeats + 1))
    distillation = Distillation(backbones, schedules)
    ready = next(sources[SLIDES].batches(range(1)))

    def steps(turn: int) -> range:
        return range(turn * count, (turn + 1) * count)

    def done() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    def load(name: str) -> Callable[[int], None]:
        def way(turn: int) -> None:
            for _ in sources[name].batches(steps(turn)):
                pass

        return way

    def model(turn: int) -> None:
        for step in steps(turn):
            distillation.step(ready, step)
        done()

    def together(turn: int) -> None:
        for step, batch in zip(steps(turn), sources[SLIDES].batches(steps(turn)), strict=True):
            distillation.step(batch, step)
        done()

    return {SLIDES: load(SLIDES), CACHE: load(CACHE), MODEL: model, TOGETHER: together}
