from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import pyvips
from PIL import Image

from hvit_cli.errors import TissueError
from hvit_cli.tissue.external import read_external_mask

SIZE = (4000, 3000)
SPACING_UM = 0.5


def labels(scale: int) -> npt.NDArray[np.uint8]:
    """A label mask, one pixel per `scale` level-0 pixels: 1, 2 and 3 in three blocks."""
    pixels = np.zeros((SIZE[1] // scale, SIZE[0] // scale), np.uint8)
    for value, left in ((1, 400), (2, 1600), (3, 2800)):
        box = slice(800 // scale, 2000 // scale), slice(left // scale, (left + 800) // scale)
        pixels[box] = value
    return pixels


def area_mm2(*, values: int) -> float:
    return values * 800 * 1200 * SPACING_UM**2 / 1e6


@pytest.mark.parametrize("scale", [1, 4, 10, 40])
@pytest.mark.parametrize("tissue_values", [(1,), (1, 3), (1, 2, 3)])
def test_a_mask_of_any_size_has_the_same_area(
    tmp_path: Path, scale: int, tissue_values: tuple[int, ...]
) -> None:
    path = tmp_path / "m.png"
    Image.fromarray(labels(scale)).save(path)
    mask = read_external_mask(path, SIZE, SPACING_UM, tissue_values)
    assert mask.source == "external"
    assert mask.tissue_mm2 == pytest.approx(area_mm2(values=len(tissue_values)), rel=1e-9)
    assert mask.spacing_um == pytest.approx(max(scale * SPACING_UM, 2.0))


def test_the_first_channel_of_a_colour_mask_counts(tmp_path: Path) -> None:
    # PANDA's label masks are RGB with the label in red and zeros elsewhere.
    pixels = np.zeros((*labels(4).shape, 3), np.uint8)
    pixels[..., 0] = labels(4)
    pyvips.Image.new_from_array(pixels).tiffsave(
        str(tmp_path / "m.tiff"), tile=True, pyramid=True, compression="deflate"
    )
    mask = read_external_mask(tmp_path / "m.tiff", SIZE, SPACING_UM, (1, 2))
    assert mask.tissue_mm2 == pytest.approx(area_mm2(values=2))


def test_the_index_of_a_palette_counts_and_not_its_colour(tmp_path: Path) -> None:
    picture = Image.fromarray(labels(4)).convert("P")
    picture.putpalette([0, 0, 0, 255, 0, 0, 7, 9, 11, 1, 1, 1])
    for name in ("m.png", "m.tif"):
        picture.save(tmp_path / name)
        mask = read_external_mask(tmp_path / name, SIZE, SPACING_UM, (3,))
        assert mask.tissue_mm2 == pytest.approx(area_mm2(values=1))


def test_sixteen_bit_labels_are_read_as_they_are(tmp_path: Path) -> None:
    wide = labels(4).astype(np.uint16) * 300
    pyvips.Image.new_from_array(wide).tiffsave(str(tmp_path / "m.tif"))
    mask = read_external_mask(tmp_path / "m.tif", SIZE, SPACING_UM, (600,))
    assert mask.tissue_mm2 == pytest.approx(area_mm2(values=1))


def test_of_a_pyramid_the_coarsest_level_of_two_micrometres_is_read(data: Path) -> None:
    path = data / "masks" / "biopsy_a_mask.tiff"
    mask = read_external_mask(path, (12000, 6000), 0.486, (1,))
    assert mask.pixels.shape == (1500, 3000)
    assert mask.spacing_um == pytest.approx(1.944)
    assert mask.pixels.mean() == pytest.approx(0.330, abs=5e-4)


def test_gleason_labels_are_taken_by_value(data: Path) -> None:
    path = data / "masks" / "prostate_gleason_0.5um_gleason.tif"
    mask = read_external_mask(path, (6852, 5651), 0.5, (1, 4))
    assert mask.tissue_mm2 == pytest.approx((9.5 + 5.1) * 0.25, rel=0.01)


def test_another_shape_is_refused_with_both_sizes(tmp_path: Path) -> None:
    Image.fromarray(labels(4).T.copy()).save(tmp_path / "m.png")
    with pytest.raises(TissueError, match=r"m\.png.*750 x 1000 px.*4000 x 3000"):
        read_external_mask(tmp_path / "m.png", SIZE, SPACING_UM, (1,))


@pytest.mark.parametrize("shape", [(188, 250), (187, 250), (47, 63), (46, 62)])
def test_a_size_that_was_rounded_on_the_way_fits(tmp_path: Path, shape: tuple[int, int]) -> None:
    Image.fromarray(np.ones(shape, np.uint8)).save(tmp_path / "m.png")
    assert read_external_mask(tmp_path / "m.png", SIZE, SPACING_UM, (1,)).pixels.all()


def test_missing_tissue_values_are_named_with_those_that_are_there(tmp_path: Path) -> None:
    Image.fromarray(labels(4) // 3 * 255).save(tmp_path / "m.png")
    with pytest.raises(TissueError, match=r"the values 0, 255; wanted one of 1; .*255"):
        read_external_mask(tmp_path / "m.png", SIZE, SPACING_UM, (1,))


def test_a_mask_of_zeros_is_empty_and_no_error(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((75, 100), np.uint8)).save(tmp_path / "m.png")
    assert read_external_mask(tmp_path / "m.png", SIZE, SPACING_UM, (1,)).is_empty


@pytest.mark.parametrize("content", [None, b"", b"\x89PNG\r\n\x1a\n"])
def test_a_mask_that_is_none_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "m.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TissueError, match=r"m\.png"):
        read_external_mask(path, SIZE, SPACING_UM, (1,))
