from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hvit_cli.errors import UsageError
from hvit_cli.pretraining.benchmark import (
    CACHE,
    MODEL,
    SLIDES,
    TOGETHER,
    PretrainingBenchmarkSettings,
    possible_rate,
    run_pretraining_benchmark,
)
from hvit_cli.pretraining.cache import CachedPatches, build_cache
from hvit_cli.pretraining.patches import SlidePatches
from hvit_cli.pretraining.pool import PatchPool
from hvit_cli.settings import CropSettings, PretrainingSettings, ReadingSettings

WritePool = Callable[..., PatchPool]


def small(batch: int = 4) -> PretrainingBenchmarkSettings:
    return PretrainingBenchmarkSettings(
        settings=PretrainingSettings(
            width=24,
            depth=1,
            heads=2,
            token_px=8,
            out_dim=32,
            head_hidden=16,
            head_bottleneck=8,
            batch=batch,
        ),
        crops=CropSettings(global_px=16, local_px=8, local_crops=2),
        steps=2,
        repeats=3,
    )


def test_on_a_processor_times_add_up_and_on_a_gpu_the_slower_counts() -> None:
    # 100 patches take 1 s to load and 4 s to learn from: 5 s together, or 4 s side by side.
    assert possible_rate(100, 25, "cpu") == pytest.approx(20)
    assert possible_rate(100, 25, "cuda:0") == 25


def test_every_way_is_timed_in_turns_and_related_to_what_is_possible(
    write_pool: WritePool, tmp_path: Path
) -> None:
    pool = write_pool()
    list(build_cache(pool, tmp_path / "c", ReadingSettings()))
    result = run_pretraining_benchmark(
        small(), SlidePatches(pool, ReadingSettings()), CachedPatches(pool, tmp_path / "c")
    )
    assert list(result.seconds) == [SLIDES, CACHE, MODEL, TOGETHER]
    assert {len(turns) for turns in result.seconds.values()} == {3}
    assert (result.patches, result.pool) == (8, 22)
    rate = result.patches_per_second
    assert rate[MODEL] == pytest.approx(8 / np.median(result.seconds[MODEL]))
    expected = 1 / (1 / rate[SLIDES] + 1 / rate[MODEL])
    assert result.ratio == pytest.approx(rate[TOGETHER] / expected)


def test_a_slide_with_too_few_patches_is_refused(write_pool: WritePool, tmp_path: Path) -> None:
    pool = write_pool((4,))
    list(build_cache(pool, tmp_path / "c", ReadingSettings()))
    with pytest.raises(UsageError, match="--batch"):
        run_pretraining_benchmark(
            small(batch=5),
            SlidePatches(pool, ReadingSettings()),
            CachedPatches(pool, tmp_path / "c"),
        )
