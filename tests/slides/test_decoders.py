from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import openslide
import pytest
from PIL import Image

from hvit_cli.errors import PixelError, UnreadableSlideError
from hvit_cli.slides.decoders.base import Decoder
from hvit_cli.slides.decoders.choose import open_decoder
from hvit_cli.slides.decoders.openslide_decoder import OpenSlideDecoder, on_white
from hvit_cli.slides.decoders.picture_decoder import PictureDecoder
from hvit_cli.slides.decoders.vips_decoder import VipsDecoder, pages_of_levels
from hvit_cli.slides.tiff import read_directories

JPEG_TILES = [
    "CMU-1-Small-Region.svs",
    "biopsy_a.tiff",
    "biopsy_b.tiff",
    "biopsy_c.tiff",
    "panda_ink_1.944um.tif",
    "panda_ink_upsampled_0.486um.tif",
    "prostate_benign_0.5um.tif",
    "prostate_gleason_0.5um.tif",
    "prostate_tcga_0.25um.tif",
]
THROUGH_OPENSLIDE = ["TCGA-CR-7395-01A-01-TS1.svs", "test3-TRITC_2__560_.ndpi", "dicom_cmu1small"]
# Where the damage lies, found by reading tile after tile with OpenSlide.
BROKEN = {"one_tile_zeroed.svs": (0, 1440), "zeroed_4k_mid.svs": (720, 1680)}


def openslide_pixels(
    slide: openslide.OpenSlide, level: int, xy: tuple[int, int], size: tuple[int, int]
) -> np.ndarray:
    downsample = slide.level_downsamples[level]
    place = (round(xy[0] * downsample), round(xy[1] * downsample))
    return np.asarray(slide.read_region(place, level, size).convert("RGB"))


def through_vips(path: Path) -> VipsDecoder:
    """libvips' pixels of a slide that `open_decoder` may give to another library."""
    slide = OpenSlideDecoder(path)
    pages = pages_of_levels(slide.sizes, slide.vendor, read_directories(path))
    assert pages is not None
    return VipsDecoder(path, pages, slide)


@pytest.mark.parametrize("name", JPEG_TILES)
def test_libvips_gives_the_pixels_of_openslide(data: Path, name: str) -> None:
    path = data / "slides" / name
    decoder = through_vips(path)
    assert decoder.agrees()
    rng = np.random.default_rng(0)
    with openslide.OpenSlide(path) as slide:
        assert decoder.sizes == slide.level_dimensions
        for level, (width, height) in enumerate(decoder.sizes):
            if not slide.level_downsamples[level].is_integer():
                continue  # OpenSlide interpolates there
            size = (min(700, width), min(520, height))
            for _ in range(4):
                xy = (
                    int(rng.integers(0, width - size[0] + 1)),
                    int(rng.integers(0, height - size[1] + 1)),
                )
                np.testing.assert_array_equal(
                    decoder.read(level, xy, size), openslide_pixels(slide, level, xy, size)
                )


@pytest.mark.slow
@pytest.mark.parametrize("through", [through_vips, open_decoder])
@pytest.mark.parametrize("name", JPEG_TILES)
def test_every_pixel_is_that_of_openslide(
    data: Path, name: str, through: Callable[[Path], Decoder]
) -> None:
    path = data / "slides" / name
    decoder = through(path)
    width, height = decoder.sizes[0]
    with openslide.OpenSlide(path) as slide:
        for top in range(0, height, 1024):
            size = (width, min(1024, height - top))
            np.testing.assert_array_equal(
                decoder.read(0, (0, top), size), openslide_pixels(slide, 0, (0, top), size)
            )


@pytest.mark.parametrize("name", THROUGH_OPENSLIDE)
def test_what_no_other_library_reads_equally_goes_through_openslide(data: Path, name: str) -> None:
    decoder = open_decoder(data / "slides" / name)
    assert isinstance(decoder, OpenSlideDecoder)
    assert decoder.read(0, (100, 100), (50, 40)).shape == (40, 50, 3)


@pytest.mark.parametrize("through", [through_vips, open_decoder])
def test_levels_with_inexact_downsamples_are_inexact_through_openslide_only(
    data: Path, through: Callable[[Path], Decoder]
) -> None:
    path = data / "slides" / "biopsy_c.tiff"
    decoder = through(path)
    plain = OpenSlideDecoder(path)
    assert decoder.downsamples[2] == pytest.approx(16.007, abs=1e-3)
    assert decoder.is_exact(2)
    assert not plain.is_exact(2)
    assert plain.is_exact(1)
    whole = decoder.read(2, (0, 0), decoder.sizes[2])
    part = decoder.read(2, (333, 444), (100, 100))
    np.testing.assert_array_equal(part, whole[444:544, 333:433])
    # OpenSlide's interpolation is a matter of a few grey values, not of another place.
    other = plain.read(2, (333, 444), (100, 100)).astype(int)
    assert np.abs(other - part).mean() < 1


@pytest.mark.parametrize("name", sorted(BROKEN))
@pytest.mark.parametrize(
    ("through", "library"),
    [
        (open_decoder, "libjpeg-turbo"),
        (through_vips, "libvips"),
        (OpenSlideDecoder, "OpenSlide"),
    ],
)
def test_a_broken_tile_is_an_error_and_never_a_colour(
    data: Path, name: str, through: Callable[[Path], Decoder], library: str
) -> None:
    path = data / "malformed" / name
    decoder = through(path)
    assert decoder.name == library
    bad = BROKEN[name]
    good = (bad[0] + 480, bad[1] + 480)
    before = decoder.read(0, good, (240, 240))
    for _ in range(3):  # libvips keeps the grey tile; it must not come out at the second try
        with pytest.raises(PixelError) as caught:
            decoder.read(0, bad, (240, 240))
        line = str(caught.value)
        assert str(path) in line
        assert f"level 0, x {bad[0]}, y {bad[1]}, 240×240 px" in line
        # OpenSlide fails for ever on a handle that failed once; others must not notice.
        np.testing.assert_array_equal(decoder.read(0, good, (240, 240)), before)


@pytest.mark.parametrize("through", [through_vips, open_decoder])
@pytest.mark.parametrize("name", sorted(BROKEN))
def test_exactly_the_tiles_that_openslide_refuses_are_refused(
    data: Path, name: str, through: Callable[[Path], Decoder]
) -> None:
    decoder = through(data / "malformed" / name)
    width, height = decoder.sizes[0]
    refused = []
    for y in range(0, height, 240):
        for x in range(0, width, 240):
            try:
                decoder.read(0, (x, y), (min(240, width - x), min(240, height - y)))
            except PixelError:
                refused.append((x, y))
    assert refused == [BROKEN[name]]


@pytest.mark.parametrize("through", [through_vips, open_decoder])
def test_another_threads_broken_slide_does_not_harm_a_good_one(
    data: Path, through: Callable[[Path], Decoder]
) -> None:
    """libvips' complaints are one per process: the good slide is checked and comes out right."""
    good = through(data / "slides" / "CMU-1-Small-Region.svs")
    expected = good.read(0, (0, 0), (960, 960))
    stop = threading.Event()
    failures: list[str] = []

    def keep_failing() -> None:
        broken = through(data / "malformed" / "zeroed_4k_mid.svs")
        while not stop.is_set():
            try:
                broken.read(0, (700, 1600), (300, 300))
                failures.append("a broken tile was returned")
            except PixelError:
                pass

    thread = threading.Thread(target=keep_failing)
    thread.start()
    try:
        for _ in range(15):
            np.testing.assert_array_equal(good.read(0, (0, 0), (960, 960)), expected)
    finally:
        stop.set()
        thread.join()
    assert failures == []


@pytest.mark.parametrize("compression", ["deflate", "lzw", "jpeg"])
def test_tiles_that_were_cut_off_are_an_error(write_slide, noise, compression: str) -> None:
    path = write_slide(noise(512, 512), compression=compression)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 9000] = bytes(9000)
    path.write_bytes(content)
    decoder = open_decoder(path)
    with pytest.raises(PixelError):
        decoder.read(0, (0, 0), (512, 512))


def test_a_tiff_with_false_colours_in_libvips_is_refused_with_openslide(data: Path) -> None:
    """libvips opens this OME-TIFF, declared RGB and stored as YCbCr, in salmon and green."""
    with pytest.raises(UnreadableSlideError, match="OpenSlide does not know"):
        open_decoder(data / "malformed" / "ome_tiff_openslide_refuses.tif")


@pytest.mark.parametrize(
    ("compression", "library"), [("deflate", "libvips"), ("jpeg", "libjpeg-turbo")]
)
def test_where_the_libraries_disagree_openslide_is_asked(
    monkeypatch: pytest.MonkeyPatch, write_slide, noise, compression: str, library: str
) -> None:
    path = write_slide(noise(300, 300), compression=compression)
    assert open_decoder(path).name == library
    true_read = OpenSlideDecoder.read
    monkeypatch.setattr(OpenSlideDecoder, "read", lambda *a: true_read(*a)[..., ::-1])
    assert isinstance(open_decoder(path), OpenSlideDecoder)


def test_transparent_pixels_are_white_and_opaque_black_stays_black() -> None:
    rgba = np.zeros((1, 4, 4), np.uint8)
    rgba[0, 1] = (0, 0, 0, 255)
    rgba[0, 2] = (255, 0, 0, 128)
    rgba[0, 3] = (10, 20, 30, 255)
    expected = [[255, 255, 255], [0, 0, 0], [255, 127, 127], [10, 20, 30]]
    np.testing.assert_array_equal(on_white(rgba)[0], expected)


def test_fluorescence_stays_dark(data: Path) -> None:
    decoder = open_decoder(data / "slides" / "test3-TRITC_2__560_.ndpi")
    assert np.median(decoder.read(4, (0, 0), decoder.sizes[4])) < 30


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "LA", "1"])
def test_pictures_are_slides_of_one_level(tmp_path: Path, noise, mode: str) -> None:
    path = tmp_path / "picture.png"
    picture = Image.fromarray(noise(40, 30)).convert(mode)
    picture.save(path)
    decoder = open_decoder(path)
    assert isinstance(decoder, PictureDecoder)
    assert (decoder.sizes, decoder.downsamples) == (((40, 30),), (1.0,))
    expected = np.asarray(picture.convert("RGBA").convert("RGB"))
    np.testing.assert_array_equal(decoder.read(0, (5, 6), (20, 10)), expected[6:16, 5:25])


def test_clear_parts_of_a_picture_are_white(tmp_path: Path) -> None:
    path = tmp_path / "clear.png"
    Image.fromarray(np.zeros((4, 4, 4), np.uint8)).save(path)
    assert (open_decoder(path).read(0, (0, 0), (4, 4)) == 255).all()


@pytest.mark.parametrize(("mode", "suffix"), [("CMYK", ".jpg"), ("I;16", ".png")])
def test_pictures_of_other_kinds_are_refused(tmp_path: Path, mode: str, suffix: str) -> None:
    path = tmp_path / f"other{suffix}"
    Image.new(mode, (8, 8)).save(path)
    with pytest.raises(UnreadableSlideError, match="Pillow mode"):
        open_decoder(path)


def test_a_picture_cut_off_is_an_error(data: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.png"
    path.write_bytes((data / "images" / "no-tissue.png").read_bytes()[:20_000])
    decoder = open_decoder(path)
    with pytest.raises(PixelError):
        decoder.read(0, (0, 0), (10, 10))


def test_a_picture_too_large_to_hold_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "large.png"
    Image.new("L", (200, 200)).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
    with pytest.raises(UnreadableSlideError, match=r"too large.*10000 pixels.*vips tiffsave"):
        open_decoder(path)


def test_an_mrxs_file_without_its_folder_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.mrxs"
    path.write_bytes(b"MRXS")
    with pytest.raises(UnreadableSlideError, match="folder a beside it"):
        open_decoder(path)


def test_a_folder_without_dicom_files_is_no_slide(tmp_path: Path) -> None:
    with pytest.raises(UnreadableSlideError, match=r"not a slide.*\.dcm"):
        open_decoder(tmp_path)


def test_several_dicom_series_in_one_folder_are_refused(data: Path, tmp_path: Path) -> None:
    files = sorted((data / "slides" / "dicom_cmu1small").glob("*.dcm"))
    content = files[5].read_bytes()
    shutil.copyfile(files[4], tmp_path / "a.dcm")
    start = content.index(b"\x20\x00\x0e\x00UI") + 8
    last = start + int.from_bytes(content[start - 2 : start], "little") - 2
    digit = b"1" if content[last : last + 1] != b"1" else b"2"
    (tmp_path / "b.dcm").write_bytes(content[:last] + digit + content[last + 1 :])
    with pytest.raises(UnreadableSlideError, match="2 series in 2 files"):
        open_decoder(tmp_path)


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(UnreadableSlideError, match=r"nowhere\.svs: there is no such file"):
        open_decoder(tmp_path / "nowhere.svs")
