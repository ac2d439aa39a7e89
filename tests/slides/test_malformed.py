"""Every malformed file: one clear line, at once, and nothing on stderr besides."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from hvit_cli.errors import PixelError, SlideError, SpacingError, UnreadableSlideError
from hvit_cli.settings import ReadingSettings
from hvit_cli.slides.reader import open_slide

_FOLDER = Path(__file__).resolve().parents[3] / "shared" / "data" / "malformed"
FILES = sorted(path.name for path in _FOLDER.iterdir()) if _FOLDER.is_dir() else ["absent"]

# Sound in all but their spacing: with one they are read.
SPACING_ONLY = {
    "mpp_huge.svs": "499 µm/px",
    "mpp_missing.svs": "states no spacing",
    "mpp_negative.svs": "-0.499 µm/px",
    "mpp_text.svs": "abcdef µm/px",
    "mpp_zero.svs": "0 µm/px",
    "seq-1c-8b-tiled-lzw-20f3db0c.tiff": "states no spacing",
    "tiff_tiled_planar_16bit_RGB.tiff": "72 dpi is a default",
    "tiff_tiled_planar_lzw.tiff": "72 dpi is a default",
    "tiff_tiled_raw.tif": "72 dpi is a default",
    "tiff_tiled_ycbcr_jpeg_2x2_sampling.tif": "states no spacing",
    "tiled-rect-rgb-u8.tif": "80.89 µm/px",
}
# Opened, and then not readable everywhere.
PIXELS = {
    "one_tile_zeroed.svs",
    "zeroed_4k_mid.svs",
    "seq-1c-8b-tiled-bigtiff-20f3db0c.tiff",
    "seq-3c-8b-tiled-8743c999.tiff",
    "tiled-gray-i1.tif",
}
SAYS = {
    "empty.svs": "the file is empty",
    "truncated_70pct.svs": "cut off",
    "untiled_kidney.tif": "not tiled",
    "histolab_broken.svs": "not a slide of a known format",
}


@pytest.mark.parametrize("name", FILES)
def test_one_line_and_no_more(
    data: Path, name: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    path = data / "malformed" / name
    start = time.perf_counter()
    with pytest.raises(SlideError) as caught, open_slide(path) as slide:
        slide.thumbnail(64)
    assert time.perf_counter() - start < 20
    line = str(caught.value)
    assert line.startswith(f"{path}: ")
    assert "\n" not in line
    assert len(line) < 400
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", FILES)
def test_the_line_says_what_is_wrong(data: Path, name: str) -> None:
    path = data / "malformed" / name
    reading = ReadingSettings(spacing_override=0.5)
    if name in SPACING_ONLY:
        with pytest.raises(SpacingError, match=SPACING_ONLY[name].replace(".", r"\.")):
            open_slide(path)
        with open_slide(path, reading) as slide:
            assert slide.thumbnail(64).size > 0
    elif name in PIXELS:
        with open_slide(path, reading) as slide, pytest.raises(PixelError, match="level 0"):
            slide.thumbnail(64)
    else:
        with pytest.raises(UnreadableSlideError, match=SAYS.get(name)):
            open_slide(path, reading)
