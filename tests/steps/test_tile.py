from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hvit_cli.errors import RecipeError, SpacingError, TissueError
from hvit_cli.settings import ReadingSettings, TilingSettings, TissueSettings
from hvit_cli.slides.manifest import SlideEntry
from hvit_cli.slides.reader import open_slide
from hvit_cli.steps.tile import FoundRegions, make_tiles
from hvit_cli.storage.tiles import read_tiles
from hvit_cli.storage.work import WorkFolder
from hvit_cli.tissue.mask import read_mask, write_mask

WriteSlide = Callable[..., Path]
CORE = (200, 200, 1200, 600)


def found(
    path: Path,
    work: Path,
    *,
    spacing_um: float = 2.0,
    overwrite: bool = False,
    mask_dir: Path | None = None,
    shift_patches: tuple[float, float] = (0.0, 0.0),
    **tiling: object,
) -> FoundRegions:
    with open_slide(path) as slide:
        return make_tiles(
            slide,
            SlideEntry(slide_id=path.stem, path=path),
            reading=ReadingSettings(spacing_um=spacing_um),
            tissue=TissueSettings(mask_dir=mask_dir),
            tiling=TilingSettings(**{"region_px": 256, "patch_px": 32, **tiling}),
            work=WorkFolder(work) if not any(shift_patches) else shifted_work(work, shift_patches),
            overwrite=overwrite,
            shift_patches=shift_patches,
        )


def shifted_work(work: Path, shift_patches: tuple[float, float]) -> WorkFolder:
    return WorkFolder(work).shifted(shift_patches)


def test_regions_and_picture_are_written_and_read_back(
    write_slide: WriteSlide, tmp_path: Path
) -> None:
    result = found(write_slide("s", CORE), tmp_path / "w")
    assert result.status == "done"
    assert result.tiles is not None
    stored = read_tiles(tmp_path / "w" / "tiles" / "s.h5")
    assert np.array_equal(stored.regions.tissue_count, result.tiles.regions.tissue_count)
    # 1000 × 400 px of tissue in squares of 256: four columns, two rows.
    assert len(stored.regions) == 8
    assert np.abs(stored.regions.xy_level0[0] - [200, 200]).max() <= 8
    with Image.open(tmp_path / "w" / "qc" / "s.jpg") as picture:
        assert picture.width == 1600


def test_the_status_row_says_what_was_kept_and_dropped(
    write_slide: WriteSlide, tmp_path: Path
) -> None:
    path = write_slide("s", CORE, (1400, 900, 1478, 978))
    result = found(path, tmp_path / "w")
    row = result.row(SlideEntry(slide_id="s", path=path), "tile")
    assert (row.status, row.n_regions, row.stage) == ("done", 8, "tile")
    assert row.tissue_mm2 == pytest.approx((1000 * 400 + 78 * 78) * 4e-6, rel=0.05)
    assert row.tissue_dropped_mm2 == pytest.approx(78 * 78 * 4e-6, rel=0.2)
    assert row.n_patches is not None
    assert 400 <= row.n_patches <= 8 * 64


def test_a_second_run_reuses_and_draws_only_a_missing_picture(
    write_slide: WriteSlide, tmp_path: Path
) -> None:
    path = write_slide("s", CORE)
    found(path, tmp_path / "w")
    picture = tmp_path / "w" / "qc" / "s.jpg"
    drawn = picture.read_bytes()
    made = picture.stat().st_mtime_ns
    assert found(path, tmp_path / "w").remark == "reused"
    assert picture.stat().st_mtime_ns == made
    picture.unlink()
    again = "qc/s.jpg made again, because it is"
    assert found(path, tmp_path / "w").remark == f"{again} missing"
    assert picture.read_bytes() == drawn
    picture.write_bytes(drawn[:-100])
    assert found(path, tmp_path / "w").remark == f"{again} not what was written (checksum)"
    assert picture.read_bytes() == drawn


def test_other_settings_are_an_error_and_overwritten_when_asked(
    write_slide: WriteSlide, tmp_path: Path
) -> None:
    path = write_slide("s", CORE)
    found(path, tmp_path / "w")
    with pytest.raises(RecipeError, match=r"tiling\.region_px: 256 → 128.*--overwrite"):
        found(path, tmp_path / "w", region_px=128)
    result = found(path, tmp_path / "w", region_px=128, overwrite=True)
    assert result.tiles is not None
    assert result.tiles.regions.region_px == 128


def test_a_mask_changed_by_hand_is_noticed(write_slide: WriteSlide, tmp_path: Path) -> None:
    path = write_slide("s", CORE)
    found(path, tmp_path / "w")
    mask, recipe = read_mask(tmp_path / "w" / "masks" / "s.tiff")
    mask.pixels[:10, :10] = 1
    write_mask(tmp_path / "w" / "masks" / "s.tiff", mask, recipe)
    with pytest.raises(RecipeError, match=r"inputs\.mask_sha256"):
        found(path, tmp_path / "w")


def test_damaged_tiles_are_made_again(write_slide: WriteSlide, tmp_path: Path) -> None:
    path = write_slide("s", CORE)
    found(path, tmp_path / "w")
    tiles = tmp_path / "w" / "tiles" / "s.h5"
    tiles.write_bytes(tiles.read_bytes()[:2000])
    assert found(path, tmp_path / "w").remark.startswith("tiles/s.h5 made again, because")
    assert len(read_tiles(tiles).regions) == 8


@pytest.mark.parametrize(
    ("boxes", "region_px", "status"),
    [((), 256, "no_tissue"), (((400, 400, 490, 490),), 1024, "no_region")],
)
def test_slides_without_regions_have_a_status_and_a_picture(
    write_slide: WriteSlide,
    tmp_path: Path,
    boxes: tuple[tuple[int, int, int, int], ...],
    region_px: int,
    status: str,
) -> None:
    path = write_slide("s", *boxes)
    for _ in range(2):
        result = found(path, tmp_path / "w", region_px=region_px)
        row = result.row(SlideEntry(slide_id="s", path=path), "tile")
        assert (result.status, row.n_regions, row.n_patches) == (status, 0, 0)
        assert row.tissue_dropped_mm2 == row.tissue_mm2
        assert (tmp_path / "w" / "qc" / "s.jpg").exists()


def test_an_empty_mask_has_a_picture(write_slide: WriteSlide, tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    Image.fromarray(np.zeros((100, 160), np.uint8)).save(tmp_path / "m" / "s_mask.tiff")
    result = found(write_slide("s", CORE), tmp_path / "w", mask_dir=tmp_path / "m")
    assert result.status == "empty_mask"
    assert (tmp_path / "w" / "qc" / "s.jpg").exists()


def test_a_slide_that_is_too_coarse_is_refused_before_it_is_segmented(
    write_slide: WriteSlide, tmp_path: Path
) -> None:
    with pytest.raises(SpacingError, match="too coarse"):
        found(write_slide("s", CORE), tmp_path / "w", spacing_um=0.5)
    assert not (tmp_path / "w").exists()


def test_patches_finer_than_the_mask_are_refused(write_slide: WriteSlide, tmp_path: Path) -> None:
    with pytest.raises(TissueError, match="too coarse for the patches"):
        found(write_slide("s", CORE), tmp_path / "w", patch_px=8)


def test_background_below_is_recorded_and_lessens_the_patches(
    write_slide: WriteSlide, tmp_path: Path
) -> None:
    path = write_slide("s", CORE)
    all_patches = found(path, tmp_path / "a")
    fewer = found(path, tmp_path / "b", background_below=0.5)
    assert all_patches.tiles is not None
    assert fewer.tiles is not None
    assert fewer.tiles.background_below == 0.5
    entry = SlideEntry(slide_id="s", path=path)
    fraction = all_patches.tiles.regions.tissue_fraction
    assert all_patches.row(entry, "tile").n_patches == int((fraction > 0).sum())
    assert fewer.row(entry, "tile").n_patches == int((fraction > 0.5).sum())


@pytest.mark.parametrize("grid", ["islands", "slide"])
def test_a_shifted_grid_lies_beside_the_grid_itself_and_is_recorded(
    write_slide: WriteSlide, tmp_path: Path, grid: str
) -> None:
    slide = write_slide("s", CORE)
    first = found(slide, tmp_path / "w", grid=grid).tiles
    moved = found(slide, tmp_path / "w", grid=grid, shift_patches=(0.5, 0.25)).tiles
    assert first is not None
    assert moved is not None
    # A grid moved left and up by (16, 8) pixels: every corner is one of the old ones, moved.
    step = first.regions.region_level0
    there = moved.regions.origin_level0 + np.array([16, 8])
    offset = (there - first.regions.origin_level0[0]) / step
    np.testing.assert_allclose(offset, np.round(offset), atol=1e-9)
    assert "shift_patches" not in first.recipe["settings"]["tiling"]
    assert moved.recipe["settings"]["tiling"]["shift_patches"] == [0.5, 0.25]
    assert (tmp_path / "w" / "shifted" / "0.5-0.25" / "tiles" / "s.h5").exists()
    # Neither is taken for the other, and one mask serves both.
    assert found(slide, tmp_path / "w", grid=grid).remark.endswith("reused")
    assert len(list((tmp_path / "w").rglob("masks/*.tiff"))) == 1
    total = moved.regions.tissue_count.sum()
    assert total == pytest.approx(first.regions.tissue_count.sum(), rel=0.02)
