from __future__ import annotations

from pathlib import Path

import openslide
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hvit_cli.errors import UnreadableSlideError
from hvit_cli.slides.tiff import read_directories


def test_a_written_tiff_is_described_as_written(write_slide, noise) -> None:
    path = write_slide(noise(300, 200), pyramid=True)
    directories = read_directories(path)
    assert [d.size for d in directories] == [(300, 200), (150, 100), (75, 50), (37, 25)]
    first = directories[0]
    assert (first.is_tiled, first.compression, first.photometric) == (True, 8, 2)
    assert (first.bits, first.planar, first.has_missing_tiles) == ((8, 8, 8), 1, False)


def test_bigtiff_jpeg_and_strips_are_told(write_slide, noise) -> None:
    big = write_slide(noise(300, 200), bigtiff=True, compression="jpeg", name="big.tiff")
    (directory,) = read_directories(big)
    assert (directory.size, directory.compression, directory.is_tiled) == ((300, 200), 7, True)
    strips = write_slide(noise(300, 200), name="strips.tiff", is_tiled=False)
    assert not read_directories(strips)[0].is_tiled


@pytest.mark.parametrize(
    "name", ["biopsy_a.tiff", "biopsy_c.tiff", "CMU-1-Small-Region.svs", "panda_ink_1.944um.tif"]
)
def test_every_level_of_a_real_slide_is_a_tiled_directory(data: Path, name: str) -> None:
    path = data / "slides" / name
    tiled = {d.size for d in read_directories(path) if d.is_tiled}
    with openslide.OpenSlide(path) as slide:
        assert set(slide.level_dimensions) <= tiled


def test_the_pages_of_an_svs_that_are_no_levels_are_not_tiled(data: Path) -> None:
    directories = read_directories(data / "slides" / "CMU-1-Small-Region.svs")
    assert [(d.size, d.is_tiled) for d in directories] == [
        ((2220, 2967), True),
        ((574, 768), False),
        ((387, 463), False),
        ((1280, 431), False),
    ]


def test_a_file_cut_off_before_its_directories_says_so(data: Path) -> None:
    with pytest.raises(UnreadableSlideError, match="cut off: a TIFF directory lies beyond"):
        read_directories(data / "malformed" / "truncated_70pct.svs")


def test_a_circle_of_directories_ends(tmp_path: Path, write_slide, noise) -> None:
    content = bytearray(write_slide(noise(64, 64)).read_bytes())
    start = int.from_bytes(content[4:8], "little")
    entries = int.from_bytes(content[start : start + 2], "little")
    following = start + 2 + 12 * entries
    content[following : following + 4] = start.to_bytes(4, "little")
    (tmp_path / "loop.tiff").write_bytes(content)
    with pytest.raises(UnreadableSlideError, match="circle"):
        read_directories(tmp_path / "loop.tiff")


@pytest.fixture(scope="session")
def small_tiff(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    import numpy as np
    import pyvips

    path = tmp_path_factory.mktemp("tiff") / "small.tiff"
    pyvips.Image.new_from_array(np.zeros((70, 50, 3), np.uint8)).tiffsave(
        str(path), tile=True, tile_width=16, tile_height=16, pyramid=True
    )
    return path.read_bytes()


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.dictionaries(st.integers(0, 2000), st.integers(0, 255), max_size=8),
    cut=st.floats(0, 1),
)
def test_damage_is_one_line_and_never_anything_else(
    small_tiff: bytes, tmp_path: Path, changes: dict[int, int], cut: float
) -> None:
    content = bytearray(small_tiff)
    for place, value in changes.items():
        # From both ends: headers lie at the front, directories at the back.
        content[(place if place % 2 else -1 - place) % len(content)] = value
    path = tmp_path / "damaged.tiff"
    path.write_bytes(content[: max(4, int(len(content) * (1 - cut**4)))])
    try:
        read_directories(path)
    except UnreadableSlideError as error:
        assert "\n" not in str(error)
        assert str(path) in str(error)


@pytest.mark.parametrize(
    "content", [b"", b"II", b"GIF89a", b"II*\0", b"II+\0\0\0\0\0", b"MM\0*\0\0\0\x08"]
)
def test_rubbish_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "rubbish.tiff"
    path.write_bytes(content)
    with pytest.raises(UnreadableSlideError):
        read_directories(path)
