from __future__ import annotations

from pathlib import Path

import pytest

from hvit_cli.errors import UsageError
from hvit_cli.pipelines.bench import PretrainingBenchmarkSettings, bench_pretrain
from hvit_cli.settings import CropSettings, PretrainingSettings


def small(batch: int) -> PretrainingBenchmarkSettings:
    return PretrainingBenchmarkSettings(
        settings=PretrainingSettings(
            width=24,
            depth=1,
            heads=2,
            out_dim=32,
            head_hidden=16,
            head_bottleneck=8,
            batch=batch,
        ),
        crops=CropSettings(global_px=64, local_px=32, local_crops=2),
        steps=1,
        repeats=1,
    )


@pytest.mark.slow
def test_a_drawn_slide_serves_where_none_is_given() -> None:
    result = bench_pretrain(small(4))
    assert result.pool > 100
    assert all(rate > 0 for rate in result.patches_per_second.values())


@pytest.mark.slow
def test_the_patches_of_a_real_slide_are_measured(data: Path) -> None:
    result = bench_pretrain(small(4), data / "slides" / "CMU-1-Small-Region.svs")
    assert result.patches == 4
    assert result.pool > 20


def test_a_batch_larger_than_the_slide_is_refused(data: Path) -> None:
    with pytest.raises(UsageError, match="too few tissue patches"):
        bench_pretrain(small(100_000), data / "slides" / "CMU-1-Small-Region.svs")
