"""Tiles decoded by libjpeg-turbo: OpenSlide's pixels, each tile once, damage never silent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import openslide
import pytest
import pyvips
import simplejpeg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hvit_cli.errors import PixelError
from hvit_cli.slides.ahead import read_ahead
from hvit_cli.slides.decoders import jpeg_tiles
from hvit_cli.slides.decoders.choose import open_decoder
from hvit_cli.slides.decoders.jpeg_tiles import JpegTileDecoder
from hvit_cli.slides.decoders.openslide_decoder import OpenSlideDecoder
from hvit_cli.slides.decoders.vips_decoder import VipsDecoder
from hvit_cli.slides.geometry import plan_reading
from hvit_cli.slides.reader import Slide, open_slide
from hvit_cli.slides.tiff import TiffDirectory, read_directories

Pixels = npt.NDArray[np.uint8]
REAL = [
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
KINDS = {"4:2:0": {"Q": 75}, "4:4:4": {"Q": 92}, "RGB in JPEG": {"Q": 80, "rgbjpeg": True}}


@pytest.fixture
def smooth() -> Callable[..., Pixels]:
    """(h, w, 3) pixels without two equal rectangles, that JPEG keeps roughly."""

    def make(width: int, height: int) -> Pixels:
        y, x = np.mgrid[:height, :width]
        waves = [np.sin(x / 7 + y / 31), np.cos(x / 23 - y / 11), np.sin(x * y / 4000)]
        return np.stack([(wave * 110 + 128) for wave in waves], axis=-1).astype(np.uint8)

    return make


def by_openslide(path: Path, level: int, xy: tuple[int, int], size: tuple[int, int]) -> Pixels:
    with openslide.OpenSlide(path) as slide:
        down = slide.level_downsamples[level]
        place = (round(xy[0] * down), round(xy[1] * down))
        return np.asarray(slide.read_region(place, level, size).convert("RGB"))


@pytest.mark.parametrize("name", REAL)
def test_every_real_slide_has_the_pixels_of_openslide(data: Path, name: str) -> None:
    path = data / "slides" / name
    decoder = open_decoder(path)
    assert isinstance(decoder, JpegTileDecoder)
    rng = np.random.default_rng(0)
    with openslide.OpenSlide(path) as slide:
        assert decoder.sizes == slide.level_dimensions
        for level, (width, height) in enumerate(decoder.sizes):
            if not slide.level_downsamples[level].is_integer():
                continue  # OpenSlide interpolates there
            across, down = min(700, width), min(520, height)
            last = (width - across, height - down)
            corners = [(0, 0), last, *(tuple(rng.integers(0, np.add(last, 1))) for _ in range(3))]
            for x, y in corners:
                ratio = slide.level_downsamples[level]
                place = (round(x * ratio), round(y * ratio))
                plain = np.asarray(slide.read_region(place, level, (across, down)).convert("RGB"))
                found = decoder.read(level, (int(x), int(y)), (across, down))
                np.testing.assert_array_equal(found, plain)


@pytest.mark.parametrize("name", ["biopsy_c.tiff"])
def test_a_level_that_openslide_interpolates_has_the_pixels_of_libvips(
    data: Path, name: str
) -> None:
    path = data / "slides" / name
    decoder = open_decoder(path)
    level = 2
    page = [i for i, d in enumerate(read_directories(path)) if d.size == decoder.sizes[level]]
    stored = pyvips.Image.tiffload(str(path), page=page[0]).numpy()
    np.testing.assert_array_equal(decoder.read(level, (0, 0), decoder.sizes[level]), stored)


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("tile_px", [64, 256])
@pytest.mark.parametrize("bigtiff", [False, True])
def test_every_usual_kind_of_jpeg_tile_has_the_pixels_of_openslide(
    write_slide, smooth, kind: str, tile_px: int, bigtiff: bool
) -> None:
    path = write_slide(
        smooth(300, 210), compression="jpeg", tile_px=tile_px, bigtiff=bigtiff, **KINDS[kind]
    )
    decoder = open_decoder(path)
    assert isinstance(decoder, JpegTileDecoder)
    found = decoder.read(0, (0, 0), (300, 210))
    np.testing.assert_array_equal(found, by_openslide(path, 0, (0, 0), (300, 210)))
    np.testing.assert_array_equal(decoder.read(0, (63, 65), (67, 1)), found[65:66, 63:130])


@pytest.mark.parametrize("sampling", ["4:2:2", "4:4:0", "4:2:0", "4:4:4", "4:1:1"])
def test_every_subsampling_has_the_pixels_of_openslide(write_slide, smooth, sampling: str) -> None:
    """The tile of a TIFF is replaced by one with other sampling, its tables within."""
    code = sampling.replace(":", "")
    pixels = smooth(256, 256)
    path = write_slide(pixels, compression="jpeg", tile_px=256, Q=75)
    stream = simplejpeg.encode_jpeg(pixels, quality=90, colorsubsampling=code)
    put_tile(path, stream)
    decoder = open_decoder(path)
    assert isinstance(decoder, JpegTileDecoder)
    np.testing.assert_array_equal(
        decoder.read(0, (0, 0), (256, 256)), by_openslide(path, 0, (0, 0), (256, 256))
    )


def tiles_of(path: Path, page: int = 0) -> list[tuple[int, int]]:
    """(first byte, bytes) of every tile, from the directory."""
    tiles = read_directories(path)[page].tiles
    assert tiles is not None
    return list(zip(tiles.offsets.tolist(), tiles.counts.tolist(), strict=True))


def put_tile(path: Path, stream: bytes) -> None:
    """Makes a stream the only tile of a TIFF, at the end of the file."""
    content = bytearray(path.read_bytes())
    ((offset, count),) = tiles_of(path)
    # The two numbers of a single tile stand in the directory itself.
    for tag, old, new in ((324, offset, len(content)), (325, count, len(stream))):
        entry = content.index(
            tag.to_bytes(2, "little") + b"\4\0\1\0\0\0" + old.to_bytes(4, "little")
        )
        content[entry + 8 : entry + 12] = new.to_bytes(4, "little")
    path.write_bytes(content + stream)


def as_read(decoder: JpegTileDecoder | OpenSlideDecoder, side: int) -> Pixels | None:
    try:
        return decoder.read(0, (0, 0), (side, side))
    except PixelError:
        return None


@pytest.mark.parametrize("kind", sorted(KINDS))
@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=3),
    zeros=st.integers(0, 60),
)
def test_flipped_bytes_are_an_error_or_the_pixels_of_openslide(
    write_slide, smooth, kind: str, changes: list[tuple[float, int]], zeros: int
) -> None:
    path = write_slide(smooth(128, 128), compression="jpeg", tile_px=128, **KINDS[kind])
    ((offset, count),) = tiles_of(path)
    content = bytearray(path.read_bytes())
    for place, value in changes:
        # Squared, so that markers at the tile's beginning are hit often.
        first = offset + int((count - 1) * place**2)
        content[first] = value
        content[first + 1 : first + 1 + min(zeros, offset + count - first - 1)] = bytes(
            min(zeros, offset + count - first - 1)
        )
    path.write_bytes(content)
    decoder = JpegTileDecoder(path, read_directories(path), OpenSlideDecoder(path))
    found = as_read(decoder, 128)
    plain = as_read(OpenSlideDecoder(path), 128)
    decoder.close()
    if plain is None:
        assert found is None
    elif found is not None:
        np.testing.assert_array_equal(found, plain)


def test_bytes_left_over_are_damage_though_openslide_does_not_mind(write_slide, smooth) -> None:
    path = write_slide(smooth(256, 256), compression="jpeg", tile_px=256)
    stream = simplejpeg.encode_jpeg(smooth(256, 256))
    put_tile(path, stream[:-2] + bytes(40) + stream[-2:])
    assert by_openslide(path, 0, (0, 0), (256, 256)).shape == (256, 256, 3)
    decoder = JpegTileDecoder(path, read_directories(path), OpenSlideDecoder(path))
    assert not decoder.agrees()
    with pytest.raises(PixelError, match=r"level 0, x 30, y 10, 50×60 px \(.*extraneous bytes"):
        decoder.read(0, (30, 10), (50, 60))


def test_a_file_cut_off_after_it_was_opened_is_an_error(write_slide, smooth) -> None:
    path = write_slide(smooth(1024, 1024), compression="jpeg", tile_px=256)
    decoder = open_decoder(path)
    assert isinstance(decoder, JpegTileDecoder)
    tiles = tiles_of(path)
    offset, count = max(tiles)
    row, column = divmod(tiles.index((offset, count)), 4)
    with path.open("r+b") as file:
        file.truncate(offset + count // 2)
    with pytest.raises(PixelError, match=f"level 0, x {column * 256}, y {row * 256}, 256×256 px"):
        decoder.read(0, (column * 256, row * 256), (256, 256))


@pytest.mark.parametrize("compression", ["deflate", "lzw", "none"])
def test_other_compressions_stay_with_libvips(write_slide, noise, compression: str) -> None:
    assert isinstance(
        open_decoder(write_slide(noise(99, 88), compression=compression)), VipsDecoder
    )


def test_tiles_of_another_size_than_stated_are_left_to_openslide(write_slide, smooth) -> None:
    path = write_slide(smooth(256, 256), compression="jpeg", tile_px=256)
    put_tile(path, simplejpeg.encode_jpeg(smooth(240, 256)))
    decoder = JpegTileDecoder(path, read_directories(path), OpenSlideDecoder(path))
    found, plain = as_read(decoder, 200), as_read(OpenSlideDecoder(path), 200)
    assert (found is None) == (plain is None)
    assert found is None or np.array_equal(found, plain)


SQUARES = np.array([[0, 0], [13, 7], [150, 96], [156, 200], [13, 8], [60, 250]])


@pytest.mark.parametrize("side", [1, 50, 150])
def test_squares_are_those_that_are_read_one_by_one(write_slide, smooth, side: int) -> None:
    path = write_slide(smooth(306, 400), compression="jpeg", tile_px=64)
    decoder = open_decoder(path)
    out = np.empty((len(SQUARES), side, side, 3), np.uint8)
    assert decoder.read_squares(0, SQUARES, out)
    for square, (x, y) in zip(out, SQUARES.tolist(), strict=True):
        np.testing.assert_array_equal(square, by_openslide(path, 0, (x, y), (side, side)))


def test_a_damaged_tile_names_the_first_square_that_needs_it(write_slide, smooth) -> None:
    path = write_slide(smooth(512, 512), compression="jpeg", tile_px=128)
    decoder = open_decoder(path)
    offset, count = tiles_of(path)[6]
    with path.open("r+b") as file:
        file.seek(offset + count - 60)
        file.write(bytes(50))
    corners = np.array([[0, 0], [100, 130], [200, 60], [300, 200]])
    with pytest.raises(PixelError, match="level 0, x 200, y 60, 100×100 px"):
        decoder.read_squares(0, corners, np.empty((4, 100, 100, 3), np.uint8))


def test_tiles_that_claim_more_bytes_than_pixels_could_take_are_left_to_openslide(
    write_slide, smooth, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_slide(smooth(256, 200), compression="jpeg", tile_px=64)
    decoder = open_decoder(path)
    wanted = by_openslide(path, 0, (64, 0), (192, 200))
    monkeypatch.setattr(jpeg_tiles, "_MOST_STORED_PER_PX", 0)
    np.testing.assert_array_equal(decoder.read(0, (64, 0), (192, 200)), wanted)
    # Of squares the reader is told, and reads them one by one.
    assert not decoder.read_squares(0, np.array([[128, 100]]), np.empty((1, 99, 99, 3), np.uint8))


class Counted:
    """Counts the tiles that are decoded, by place in the file."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tiles: Counter[tuple[int, int]] = Counter()
        true_decode = jpeg_tiles._Level.decode

        def decode(
            level: jpeg_tiles._Level, file: jpeg_tiles._File, offset: int, count: int
        ) -> Pixels | None:
            self.tiles[offset, count] += 1
            return true_decode(level, file, offset, count)

        monkeypatch.setattr(jpeg_tiles._Level, "decode", decode)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    return Counted(monkeypatch)


def tiles_under(
    slide: Slide, page: TiffDirectory, rectangles: list[tuple[int, ...]]
) -> set[object]:
    """Places of the tiles that some rectangle of level 0 touches, found pixel by pixel."""
    assert page.tiles is not None
    width, height = slide.geometry.size_level0
    side = page.tiles.size[0]
    wanted = np.zeros((height, width), bool)
    for left, top, right, bottom in rectangles:
        wanted[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)] = True
    places = list(zip(page.tiles.offsets.tolist(), page.tiles.counts.tolist(), strict=True))
    across = -(-width // side)
    return {
        places[y // side * across + x // side] for y, x in zip(*np.nonzero(wanted), strict=True)
    }


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("spacing_um", [0.5, 0.31])
@pytest.mark.parametrize("origin", [(0.0, 0.0), (-13.4, 7.7)])
def test_the_tiles_under_wanted_patches_are_decoded_once_and_no_other(
    write_slide,
    smooth,
    counted: Counted,
    threads: int,
    spacing_um: float,
    origin: tuple[float, float],
) -> None:
    path = write_slide(smooth(500, 400), compression="jpeg", tile_px=48, spacing_um=spacing_um)
    rng = np.random.default_rng(3)
    with open_slide(path) as slide:
        plan = plan_reading(slide.geometry, 0.5, 0.05)
        patch_level0 = 32 * plan.level0_per_px
        requests, rectangles = [], []
        for row in range(4):
            for column in range(4):
                corner = (
                    origin[0] + column * 4 * patch_level0,
                    origin[1] + row * 4 * patch_level0,
                )
                index = np.flatnonzero(rng.random(16) < 0.3)
                requests.append((corner, index))
                for k in index.tolist():
                    x = corner[0] + k % 4 * patch_level0
                    y = corner[1] + k // 4 * patch_level0
                    edges = (x, y, x + patch_level0, y + patch_level0)
                    rectangles.append(tuple(int(np.floor(e + 0.5 + 1e-6)) for e in edges))
        counted.tiles.clear()
        # The sample at opening has left one tile in memory.
        slide.close()
        slide.read_level(0, (0, 0), (1, 1))
        sample = set(counted.tiles)
        counted.tiles.clear()
        list(read_ahead(slide, plan, requests, patch_px=32, side=4, threads=threads, waiting=4))
        expected = tiles_under(slide, read_directories(path)[0], rectangles)
    assert set(counted.tiles) == expected - sample
    assert set(counted.tiles.values()) <= {1}
    assert len(expected) < len(tiles_of(path))


def test_memory_for_tiles_is_bounded(
    write_slide, smooth, counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jpeg_tiles, "_MOST_BYTES", 3 * 64 * 64 * 3)
    path = write_slide(smooth(640, 64), compression="jpeg", tile_px=64)
    decoder = open_decoder(path)
    counted.tiles.clear()
    whole = decoder.read(0, (0, 0), (640, 64))
    np.testing.assert_array_equal(decoder.read(0, (0, 0), (640, 64)), whole)
    # Ten tiles do not fit: of those, the ones used last are there no more when asked for anew.
    assert sum(counted.tiles.values()) >= 17
    decoder.read(0, (448, 0), (192, 64))
    before = counted.tiles.total()
    decoder.read(0, (448, 0), (192, 64))
    assert counted.tiles.total() == before


def test_the_file_closes_with_its_last_reader(write_slide, smooth) -> None:
    descriptors = Path("/proc/self/fd")
    if not descriptors.is_dir():
        pytest.skip("counts open files in /proc")
    path = write_slide(smooth(100, 100), compression="jpeg")

    def times_open() -> int:
        return sum(p.resolve() == path for p in descriptors.iterdir())

    with open_slide(path) as slide:
        twin = slide.twin()
        slide.close()
        assert twin.read_level(0, (0, 0), (100, 100)).shape == (100, 100, 3)
        twin.close()
        assert times_open() == 0
