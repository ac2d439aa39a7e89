from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hvit_cli.errors import UsageError
from hvit_cli.pretraining.patches import SlidePatches
from hvit_cli.settings import ReadingSettings, TilingSettings, TissueSettings
from hvit_cli.slides.manifest import SlideEntry
from hvit_cli.steps.patch_pool import PoolFinder
from hvit_cli.storage.tiles import read_tiles
from hvit_cli.storage.work import WorkFolder

WriteSlide = Callable[..., Path]
CORE = (200, 200, 1200, 600)


def finder(work: Path) -> PoolFinder:
    return PoolFinder(
        work=WorkFolder(work),
        reading=ReadingSettings(spacing_um=2.0),
        tissue=TissueSettings(),
        tiling=TilingSettings(region_px=256, patch_px=32),
    )


def test_the_pool_holds_the_tissue_patches_of_the_stored_regions(
    write_slide: WriteSlide, tmp_path: Path
) -> None:
    path = write_slide("s", CORE)
    found = finder(tmp_path / "w")
    row, slide = found.find(SlideEntry(slide_id="s", path=path), "pretrain")
    assert (row.status, row.stage) == ("done", "pretrain")
    assert slide is not None
    regions = read_tiles(tmp_path / "w" / "tiles" / "s.h5").regions
    tissue = regions.patch_origin_level0[regions.tissue_count > 0]
    assert np.array_equal(slide.origin_level0, tissue)
    assert len(slide.origin_level0) == row.n_patches
    pool = found.pool([slide])
    # The tissue's colour, and no glass, in the middle of the core.
    reader = SlidePatches(pool, found.reading)
    inside = np.flatnonzero((abs(tissue - [700, 400]) < 60).all(axis=1))[0]
    pixels = reader.read(int(inside))
    reader.close()
    assert pixels.shape == (32, 32, 3)
    assert np.abs(pixels.astype(int) - [205, 130, 185]).max() < 6


def test_what_lies_in_the_work_folder_is_reused(write_slide: WriteSlide, tmp_path: Path) -> None:
    entry = SlideEntry(slide_id="s", path=write_slide("s", CORE))
    finder(tmp_path / "w").find(entry, "pretrain")
    assert finder(tmp_path / "w").find(entry, "pretrain")[0].reason == "reused"


def test_a_slide_without_tissue_has_a_row_and_no_patches(
    write_slide: WriteSlide, tmp_path: Path
) -> None:
    found = finder(tmp_path / "w")
    row, slide = found.find(SlideEntry(slide_id="s", path=write_slide("s")), "pretrain")
    assert (row.status, row.n_patches, slide) == ("no_tissue", 0, None)
    with pytest.raises(UsageError, match="no slide holds a tissue patch"):
        found.pool([])
