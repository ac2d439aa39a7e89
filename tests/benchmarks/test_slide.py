from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from hvit_cli.benchmarks.guard import measure_ratios
from hvit_cli.benchmarks.jpeg_tiles import jpeg_tiles
from hvit_cli.benchmarks.reading import read_tissue, tissue_rectangles
from hvit_cli.benchmarks.slide import run_slide_benchmark
from hvit_cli.benchmarks.workload import Workload, prepared
from hvit_cli.errors import TissueError
from hvit_cli.settings import EmbeddingSettings, ReadingSettings


def test_every_stage_of_a_slide_is_measured_alone_and_together(workload: Workload) -> None:
    result = run_slide_benchmark(workload, repeats=1, patches=6, price_per_hour=2.0)
    names = [stage.name for stage in result.stages]
    assert names == [
        "read", "decode", "reduce", "segment", "embed", "aggregate", "train step", "heatmap",
        "train from files", "read to score",
    ]  # fmt: skip
    assert sum(s.share for s in result.stages if s.share is not None) == pytest.approx(1)
    assert all(stage.rate > 0 for stage in result.stages)
    assert result.sampled_patches == 6
    assert result.tissue_patches == int(workload.wanted.sum()) > 6
    assert result.bottleneck in names
    assert any("--plain" in line for line in result.advice)
    assert 0 < result.busy <= 1
    segment = next(s for s in result.stages if s.name == "segment")
    seconds = result.seconds_to_score + segment.seconds_per_slide
    assert result.price_per_1000 == pytest.approx(1000 * seconds / 3600 * 2.0)


@pytest.mark.slow
def test_every_ratio_is_measured_in_one_run(workload: Workload) -> None:
    ratios = measure_ratios(workload, repeats=1, patches=4)
    assert set(ratios) == {
        "decode", "embed", "end to end", "glass", "loading", "packing", "start",
    }  # fmt: skip
    assert all(0 < r.lowest <= r.median <= r.highest for r in ratios.values())


def test_a_part_of_the_regions_holds_exactly_the_patches_asked_for(workload: Workload) -> None:
    for patches in (1, 7, workload.tissue_patches):
        part = workload.part(patches)
        assert int((part.regions.tissue_fraction > part.background_below).sum()) == patches
        assert sum(map(len, read_tissue(workload.slide, part))) == patches


def test_made_up_features_stand_where_the_real_ones_would(workload: Workload) -> None:
    features = workload.made_up_features
    assert features.features.shape == (workload.tissue_patches, 32)
    assert features.encoder_hash == workload.embedder.encoder.weights_hash
    assert np.ptp(features.features.astype(np.float32), axis=0).min() > 0


def test_the_tiles_under_tissue_hold_what_another_library_sees(workload: Workload) -> None:
    rectangles = tissue_rectangles(workload)
    tiles = jpeg_tiles(workload.slide, 0, rectangles)
    assert tiles is not None
    decoded = [simplejpeg.decode_jpeg(stream) for stream in tiles.streams()]
    stored = list(tiles.read())
    assert sum(map(len, stored)) == tiles.stored_bytes
    with Image.open(workload.entry.path) as picture:
        whole = np.asarray(picture.convert("RGB"))
    width, height = tiles.tile_px
    seen = {
        (x // width, y // height)
        for left, top, right, bottom in rectangles
        for x in range(left, min(right, whole.shape[1]))
        for y in (top, min(bottom, whole.shape[0]) - 1)
    }
    assert len(decoded) == len(seen)
    wanted = {whole[y * height :, x * width :][:height, :width].tobytes() for x, y in seen}
    # Tiles at the edges are stored padded.
    assert sum(tile.tobytes() in wanted for tile in decoded) >= len(wanted) // 2


def test_a_slide_of_bare_glass_cannot_be_measured(tmp_path: Path) -> None:
    path = tmp_path / "bare.png"
    Image.fromarray(np.full((600, 600, 3), 243, np.uint8)).save(path)
    with (
        pytest.raises(TissueError, match="nothing to measure"),
        prepared(
            path,
            model="demo",
            embedding=EmbeddingSettings(device="cpu"),
            reading=ReadingSettings(spacing_override=0.5),
        ),
    ):
        pass
