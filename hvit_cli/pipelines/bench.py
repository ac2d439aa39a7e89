"""`hvit bench`: measurements that a user can repeat on their own machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from hvit_cli.benchmarks.guard import Ratio, measure_ratios
from hvit_cli.benchmarks.machine import Machine, describe_machine
from hvit_cli.benchmarks.record import (
    Verdict,
    judge,
    read_record,
    shipped_record,
    write_record,
)
from hvit_cli.benchmarks.slide import SlideBenchmark, run_slide_benchmark
from hvit_cli.benchmarks.workload import prepared
from hvit_cli.demo.slide import draw_demo_slide
from hvit_cli.pretraining.benchmark import (
    PretrainingBenchmarkResult,
    PretrainingBenchmarkSettings,
    run_pretraining_benchmark,
)
from hvit_cli.pretraining.cache import CachedPatches, build_cache
from hvit_cli.pretraining.patches import SlidePatches
from hvit_cli.settings import (
    EmbeddingSettings,
    ReadingSettings,
    TilingSettings,
    TissueSettings,
)
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
    "RatioCheck",
    "SlideBenchmark",
    "Verdict",
    "bench_pretrain",
    "bench_slide",
    "bench_train",
    "check_ratios",
    "record_ratios",
]


@dataclass(frozen=True, kw_only=True)
class RatioCheck:
    """Ratios measured here beside recorded ones.

    Attributes:
        slide_id: The slide they were measured on.
        record: The file they are compared with.
        machine: Where they were measured.
        verdicts: One for each ratio.
    """

    slide_id: str
    record: Path
    machine: Machine
    verdicts: tuple[Verdict, ...]

    @property
    def fallen(self) -> tuple[Verdict, ...]:
        """The ratios that are too low."""
        return tuple(verdict for verdict in self.verdicts if verdict.fallen)


def bench_slide(
    slide: Path | None,
    *,
    model: str | None,
    embedding: EmbeddingSettings,
    reading: ReadingSettings,
    repeats: int,
    patches: int | None = None,
    price_per_hour: float | None = None,
    watch: Callable[[str], None] = lambda _: None,
) -> SlideBenchmark:
    """Times every stage from a slide's bytes to its map, each alone and together.

    Args:
        slide: The slide; a drawn one where none is named.
        model: As `--model`; fresh weights by default, whose speed is that of trained ones.
        embedding: Encoder, device, precision and batch size.
        reading: Where the slide's spacing comes from.
        repeats: Timed turns of everything.
        patches: Patches to embed in a turn.
        price_per_hour: What an hour of this machine costs.
        watch: Told what is done next.

    Raises:
        HvitError: Slide, model or encoder cannot be used.
    """
    watch("cutting the slide into regions" if slide else "drawing a slide and cutting it")
    with prepared(slide, model=model, embedding=embedding, reading=reading) as workload:
        return run_slide_benchmark(
            workload,
            repeats=repeats,
            patches=patches,
            price_per_hour=price_per_hour,
            watch=watch,
        )


def check_ratios(
    slide: Path | None,
    *,
    against: Path | None,
    embedding: EmbeddingSettings,
    reading: ReadingSettings,
    repeats: int,
) -> RatioCheck:
    """Measures the ratios that must not fall, and compares them with a record.

    Args:
        slide: The slide; a drawn one where none is named.
        against: The record; the one that comes with hvit by default.
        embedding: Encoder, device, precision and batch size.
        reading: Where the slide's spacing comes from.
        repeats: Rounds.

    Raises:
        StorageError: The record cannot be read.
        HvitError: Slide or encoder cannot be used.
    """
    record = against or shipped_record()
    recorded = read_record(record)
    ratios, machine, slide_id = _ratios(slide, embedding, reading, repeats)
    return RatioCheck(
        slide_id=slide_id, record=record, machine=machine, verdicts=judge(ratios, recorded)
    )


def record_ratios(
    slide: Path | None,
    *,
    out: Path,
    embedding: EmbeddingSettings,
    reading: ReadingSettings,
    repeats: int,
) -> dict[str, Ratio]:
    """Measures the ratios as `check_ratios` does, and writes them as a record to compare with.

    Raises:
        StorageError: The file cannot be written.
        HvitError: Slide or encoder cannot be used.
    """
    ratios, machine, slide_id = _ratios(slide, embedding, reading, repeats)
    write_record(out, ratios, machine, slide_id)
    return ratios


def _ratios(
    slide: Path | None, embedding: EmbeddingSettings, reading: ReadingSettings, repeats: int
) -> tuple[dict[str, Ratio], Machine, str]:
    with prepared(slide, model=None, embedding=embedding, reading=reading) as workload:
        ratios = measure_ratios(workload, repeats=repeats)
        return ratios, describe_machine(workload.device), workload.entry.slide_id


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
