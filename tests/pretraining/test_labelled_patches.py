from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import pyvips

from hvit_cli.errors import LabelError, SpacingError, StorageError, UsageError
from hvit_cli.pretraining.labelled_patches import read_labelled_patches, read_patch_table
from hvit_cli.settings import ReadingSettings

HEADING = "slide_id,path,x_level0,y_level0,label,group,part"


def write_slide(path: Path, seed: int, spacing_um: float = 0.5) -> npt.NDArray[np.uint8]:
    pixels = np.random.default_rng(seed).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    pyvips.Image.new_from_array(pixels).copy(interpretation="srgb").tiffsave(
        str(path),
        tile=True,
        tile_width=64,
        tile_height=64,
        compression="deflate",
        resunit="cm",
        xres=1e3 / spacing_um,
        yres=1e3 / spacing_um,
    )
    return pixels


def write_table(folder: Path, *lines: str) -> Path:
    path = folder / "patches.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_pixels_are_those_of_the_slides_in_the_order_of_the_table(tmp_path: Path) -> None:
    one = write_slide(tmp_path / "slides/one.tiff", 1)
    two = write_slide(tmp_path / "two.tiff", 2)
    path = write_table(
        tmp_path,
        "path,x_level0,y_level0,label",
        "slides/one.tiff,3,5,stroma",
        "two.tiff,0,0,gland",
        f"{tmp_path / 'slides/one.tiff'},40,10,gland",
    )
    table = read_patch_table(path)
    assert table.classes == ("gland", "stroma")
    assert [row.slide_id for row in table.rows] == ["one", "two", "one"]
    assert [row.group for row in table.rows] == ["one", "two", "one"]
    assert table.judged_slides == {"one", "two"}
    patches = read_labelled_patches(table, ReadingSettings(), patch_px=32)
    assert patches.pixels.dtype == np.uint8
    for n, (slide, x, y) in enumerate(((one, 3, 5), (two, 0, 0), (one, 40, 10))):
        np.testing.assert_array_equal(patches.pixels[n], slide[y : y + 32, x : x + 32])
    assert patches.label.tolist() == [1, 0, 0]
    assert patches.group.tolist() == [0, 1, 0]
    assert patches.is_bank is None


def test_bank_and_query_are_kept_apart_and_only_the_query_judges(tmp_path: Path) -> None:
    write_slide(tmp_path / "a.tiff", 1)
    write_slide(tmp_path / "b.tiff", 2)
    path = write_table(
        tmp_path,
        HEADING,
        "a,a.tiff,0,0,x,g1,bank",
        "a,a.tiff,9,0,y,g1,bank",
        "b,b.tiff,0,0,y,,query",
    )
    table = read_patch_table(path)
    assert table.judged_slides == {"b"}
    assert [row.group for row in table.rows] == ["g1", "g1", "b"]
    patches = read_labelled_patches(table, ReadingSettings(), patch_px=16)
    assert patches.is_bank is not None
    assert patches.is_bank.tolist() == [True, True, False]


def test_half_the_spacing_reads_four_pixels_for_one(tmp_path: Path) -> None:
    pixels = write_slide(tmp_path / "a.tiff", 1, spacing_um=0.25)
    path = write_table(
        tmp_path, HEADING, "a,a.tiff,8,4,x,g1,", "a,a.tiff,8,4,y,g2,", "a,a.tiff,8,4,y,g3,"
    )
    read = read_labelled_patches(read_patch_table(path), ReadingSettings(), patch_px=16).pixels
    mean = pixels[4:36, 8:40].reshape(16, 2, 16, 2, 3).mean(axis=(1, 3))
    assert np.abs(read[0] - mean).max() <= 0.5
    with pytest.raises(SpacingError):
        read_labelled_patches(read_patch_table(path), ReadingSettings(spacing_um=0.1), patch_px=16)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["slide_id,path", "a,a.tiff"], "wanted slide_id, path, x_level0, y_level0, label"),
        ([HEADING, "a,a.tiff,0,0,,g1,", "b,,0,0,x,g2,"], "2 rows without a path or a label"),
        ([HEADING, "a,a.tiff,zero,0,x,g1,"], "corner is no pair of numbers (row 2)"),
        ([HEADING, "a,a.tiff,nan,0,x,g1,"], "corner is no pair of numbers (row 2)"),
        (
            [HEADING, "a,a.tiff,0,0,x,g1,bank", "a,a.tiff,0,0,y,g2,", "a,a.tiff,0,0,y,g3,test"],
            "2 rows whose part is neither bank nor query (row 3: '', row 4: 'test')",
        ),
        (
            [HEADING, "a,a.tiff,0,0,x,g1,bank", "a,a.tiff,0,0,y,g1,query"],
            "1 groups in bank and query alike (g1)",
        ),
        ([HEADING, "a,a.tiff,0,0,x,g1,", "c,c.tiff,0,0,y,g2,"], "1 slides that are missing"),
        ([HEADING, "a,a.tiff,0,0,x,,", "a,b.tiff,0,0,y,g2,"], "1 slide_ids of several files (a)"),
        ([HEADING, "a,a.tiff,0,0,x,,", "a,a.tiff,0,0,y,,"], "group is all there is"),
        ([HEADING, "a,a.tiff,0,0,x,1,bank", "a,a.tiff,0,0,y,2,bank"], "part without a row (query"),
        ([HEADING, "a,a.tiff,0,0,x,1,", "a,a.tiff,0,0,x,2,"], "one label is all there is"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(
    tmp_path: Path, lines: list[str], said: str
) -> None:
    write_slide(tmp_path / "a.tiff", 1)
    write_slide(tmp_path / "b.tiff", 2)
    with pytest.raises(LabelError) as raised:
        read_patch_table(write_table(tmp_path, *lines))
    assert said in str(raised.value)


def test_patches_outside_their_slide_and_too_many_are_refused(tmp_path: Path) -> None:
    write_slide(tmp_path / "a.tiff", 1)
    path = write_table(tmp_path, HEADING, "a,a.tiff,0,0,x,1,", "a,a.tiff,128,0,y,2,")
    table = read_patch_table(path)
    with pytest.raises(LabelError, match=r"1 patches outside their slides \(a at 128,0\)"):
        read_labelled_patches(table, ReadingSettings(), patch_px=16)
    with pytest.raises(UsageError, match="found 2; wanted at most 1 of 16 px"):
        read_labelled_patches(table, ReadingSettings(), patch_px=16, max_bytes=1000)
    with pytest.raises(StorageError):
        read_patch_table(tmp_path / "absent.csv")
