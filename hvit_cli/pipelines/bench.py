"""`hvit bench`: measurements that a user can repeat on their own machine."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from hvit_cli.demo.slide import draw_demo_slide
from hvit_cli.pretraining.benchmark import (
    PretrainingBenchmarkResult,
    PretrainingBenchmarkSettings,
    run_pretraining_benchmark,
)
from hvit_cli.pretraining.cache import CachedPatches, build_cache
from hvit_cli.pretraining.patches import SlidePatches
from hvit_cli.settings import ReadingSettings, TilingSettings, TissueSettings
from hvit_cli.slides.files import slide_id_of
from hvit_cli.slides.manifest import SlideEntry
from hvit_cli.steps.patch_pool import PoolFinder
from hvit_cli.storage.work import WorkFolder
from hvit_cli.training.benchmark import BenchmarkResult, BenchmarkSettings, run_benchmark

__all__ = [
    "BenchmarkResult",
    "BenchmarkSettings",
    "PretrainingBenchmarkResult",
    "PretrainingBenchmarkSettings",
    "bench_pretrain",
    "bench_train",
]


def bench_train(settings: BenchmarkSettings) -> BenchmarkResult:
    """Times the packed training step beside loops over slides, one at a time."""
    return run_benchmark(settings)


def bench_pretrain(
    settings: PretrainingBenchmarkSettings, slide: Path | None = None
) -> PretrainingBenchmarkResult:
    """Times what `hvit pretrain` does: reading and cropping, learning, and both together.

    Masks, regions and the cache are made in a temporary folder and removed.

    Args:
        settings: What is timed.
        slide: The slide whose tissue patches are read; a drawn one by default.

    Raises:
        SlideError: The slide cannot be read.
        UsageError: It holds too few tissue patches.
    """
    with TemporaryDirectory(prefix="hvit-bench-") as name:
        folder, reading = Path(name), ReadingSettings()
        path = slide or draw_demo_slide(folder / "drawn.tiff").path
        finder = PoolFinder(
            work=WorkFolder(folder / "work"),
            reading=reading,
            tissue=TissueSettings(),
            tiling=TilingSettings(),
        )
        _, found = finder.find(SlideEntry(slide_id=slide_id_of(path), path=path), "bench")
        pool = finder.pool([] if found is None else [found])
        for _ in build_cache(pool, folder / "cache", reading):
            pass
        return run_pretraining_benchmark(
            settings, SlidePatches(pool, reading), CachedPatches(pool, folder / "cache")
        )
