from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import openslide
import pytest

from hvit_cli.errors import DamagedFileError
from hvit_cli.tissue.mask import TissueMask, mask_over_slide, read_mask, write_mask

MaskOf = Callable[..., TissueMask]
RECIPE = {"settings": {"tissue": {"method": 1}}, "inputs": {"slide": "µ"}}


def test_frames_follow_from_the_sizes() -> None:
    mask = mask_over_slide(np.ones((50, 100), np.uint8), (1600, 820), 0.5, "segmented")
    assert mask.level0_per_px == (16.0, 16.4)
    assert mask.spacing_um == pytest.approx(0.5 * 16.2)
    assert mask.spacing_um_level0 == pytest.approx(0.5)
    assert mask.tissue_mm2 == pytest.approx(1600 * 820 * 0.25 / 1e6)


def test_a_mask_survives_its_file(mask_of: MaskOf, tmp_path: Path) -> None:
    mask = replace(mask_of((20, 30, 90, 120)), pen_mm2=0.25, note="peculiar")
    path = tmp_path / "m.tiff"
    write_mask(path, mask, RECIPE)
    again, recipe = read_mask(path)
    assert np.array_equal(again.pixels, mask.pixels)
    assert replace(again, pixels=mask.pixels) == mask
    assert recipe == RECIPE


def test_openslide_reads_the_mask_at_its_real_spacing(tmp_path: Path) -> None:
    pixels = np.zeros((900, 1300), np.uint8)
    pixels[200:500, 300:1000] = 1
    mask = mask_over_slide(pixels, (1300 * 4, 900 * 4), 0.486, "external")
    write_mask(tmp_path / "m.tiff", mask, RECIPE)
    slide = openslide.OpenSlide(tmp_path / "m.tiff")
    assert slide.level_dimensions[:2] == ((1300, 900), (650, 450))
    assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(4 * 0.486, rel=1e-5)
    assert float(slide.properties["openslide.mpp-y"]) == pytest.approx(4 * 0.486, rel=1e-5)
    for level in range(slide.level_count):
        seen = np.asarray(slide.read_region((0, 0), level, slide.level_dimensions[level]))
        assert set(np.unique(seen[..., :3])) == {0, 1}
    assert np.array_equal(np.asarray(slide.read_region((0, 0), 0, (1300, 900)))[..., 0], pixels)


def test_a_mask_that_was_replaced_is_read_anew(mask_of: MaskOf, tmp_path: Path) -> None:
    # libvips caches opened files by name; the second mask once came back as the first.
    path = tmp_path / "m.tiff"
    for box in ((0, 0, 10, 10), (50, 50, 80, 80)):
        mask = mask_of(box)
        write_mask(path, mask, RECIPE)
        assert np.array_equal(read_mask(path)[0].pixels, mask.pixels)


def test_the_same_mask_gives_the_same_bytes(mask_of: MaskOf, tmp_path: Path) -> None:
    for name in ("a.tiff", "b.tiff"):
        write_mask(tmp_path / name, mask_of((3, 4, 50, 60)), RECIPE)
    assert (tmp_path / "a.tiff").read_bytes() == (tmp_path / "b.tiff").read_bytes()


@pytest.mark.parametrize("damage", ["cut", "empty", "foreign", "not a picture"])
def test_a_damaged_mask_is_named(mask_of: MaskOf, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "m.tiff"
    noise = np.random.default_rng(0).integers(0, 2, (400, 400), np.uint8)
    write_mask(path, mask_over_slide(noise, (400, 400), 8, "segmented"), RECIPE)
    whole = path.read_bytes()
    if damage == "cut":
        path.write_bytes(whole[: len(whole) // 2])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "foreign":
        path.write_bytes(whole.replace(b"hvit-mask-1", b"other-mask1"))
    else:
        path.write_text("no picture at all")
    with pytest.raises(DamagedFileError, match=r"m\.tiff"):
        read_mask(path)
