from __future__ import annotations

from pathlib import Path

import numpy as np
import openslide
import pytest
import pyvips

from hvit_cli.demo.slide import reduced
from hvit_cli.demo.tiff import write_mask, write_picture
from hvit_cli.errors import StorageError


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """Smooth colours, so that JPEG changes little; no side a multiple of a tile."""
    row, column = np.mgrid[0:1300, 0:2100]
    return np.stack([row % 251, column % 241, (row + column) // 14], axis=-1).astype(np.uint8)


@pytest.fixture(scope="module")
def slide_path(picture: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tiff") / "slide.tiff"
    smooth = np.asarray(picture // 2 + 60, np.uint8)
    write_picture(path, [reduced(smooth, by) for by in (1, 4, 16)], spacing_um=0.4523, quality=95)
    return path


def test_openslide_sees_levels_spacing_and_pixels(slide_path: Path, picture: np.ndarray) -> None:
    with openslide.OpenSlide(slide_path) as slide:
        assert slide.level_dimensions == ((2100, 1300), (525, 325), (132, 82))
        assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(0.4523, rel=1e-6)
        assert slide.properties["openslide.level[0].tile-width"] == "512"
        read = np.asarray(slide.read_region((1000, 700), 0, (300, 200)).convert("RGB"), int)
    wanted = picture[700:900, 1000:1300] // 2 + 60
    assert np.abs(read - wanted).mean() < 4


def test_libvips_sees_the_same_pages(slide_path: Path) -> None:
    sizes = []
    for page in range(3):
        image = pyvips.Image.new_from_file(str(slide_path), page=page)
        sizes.append((image.width, image.height))
    assert sizes == [(2100, 1300), (525, 325), (132, 82)]
    assert image.get("n-pages") == 3


def test_mask_comes_back_exactly_with_its_spacing(tmp_path: Path) -> None:
    mask = np.random.default_rng(0).integers(0, 6, (333, 517)).astype(np.uint8)
    write_mask(tmp_path / "mask.tiff", [mask], spacing_um=3.9)
    image = pyvips.Image.new_from_file(str(tmp_path / "mask.tiff"))
    assert np.array_equal(image.numpy(), mask)
    assert 1000 / image.xres == pytest.approx(3.9, rel=1e-6)


def test_a_file_is_whole_or_absent(tmp_path: Path) -> None:
    (tmp_path / "no").write_text("a file where a folder is wanted")
    with pytest.raises(StorageError, match="cannot be written"):
        write_mask(tmp_path / "no" / "mask.tiff", [np.zeros((4, 4), np.uint8)], spacing_um=1.0)
    assert [path.name for path in tmp_path.iterdir()] == ["no"]
