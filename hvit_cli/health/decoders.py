"""Whether the decoders read what they must, tried on files made a moment before."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt
import openslide
import pyvips
from PIL import Image

from hvit_cli.errors import HvitError
from hvit_cli.health.check import Check
from hvit_cli.slides.decoders.choose import open_decoder

Pixels = npt.NDArray[np.uint8]

SIDE = 512
_TILE = 256
# JPEG at quality 95 moves a smooth gradient by so little.
_MOST_OFF = 4
_REINSTALL_JPEG = "pip install --force-reinstall simplejpeg"
_REINSTALL = "pip install --force-reinstall openslide-python openslide-bin pyvips pyvips-binary"


def check_decoders(folder: Path) -> Iterator[Check]:
    """Writes a small slide in each compression and reads it with each library.

    Args:
        folder: Where the files may be written; they are left there.
    """
    vips = ".".join(str(pyvips.version(part)) for part in range(3))
    libraries = {
        f"OpenSlide {openslide.__library_version__}": _through_openslide,
        f"libvips {vips}": _through_vips,
    }
    wanted = gradient()
    for compression in ("jpeg", "deflate"):
        file = folder / f"{compression}.tiff"
        for library, read in libraries.items():
            name = f"{library}, TIFF {compression}"
            yield _tried(name, partial(_written_and_read, file, compression, read), wanted)
    yield _jpeg_tiles(_vips_tiff(folder / "tiles.tiff", "jpeg"))
    yield _tried(
        f"OpenSlide {openslide.__library_version__}, JPEG 2000",
        lambda: _through_openslide(jpeg2000_slide(folder / "jpeg2000.svs")),
        wanted[:_TILE, :_TILE],
    )


def gradient() -> Pixels:
    """A smooth picture (512, 512, 3), which every compression keeps nearly as it is."""
    y, x = np.mgrid[:SIDE, :SIDE]
    return np.stack([x // 2, y // 2, (x + y) // 4], axis=-1).astype(np.uint8)


def jpeg2000_slide(path: Path) -> Path:
    """Writes an Aperio slide of one tile in JPEG 2000 (RGB, tag 33005), and returns its path.

    Layout: TIFF 6.0, little-endian; one directory; Aperio's description makes it a slide.
    """
    tile = io.BytesIO()
    Image.fromarray(gradient()[:_TILE, :_TILE]).save(tile, "JPEG2000", no_jp2=True)
    data = tile.getvalue()
    description = b"Aperio Image Library v0 |AppMag = 20|MPP = 0.5\0"
    bits = struct.pack("<3H", 8, 8, 8)
    at_data = 8
    at_description = at_data + len(data) + len(data) % 2
    at_bits = at_description + len(description) + len(description) % 2
    at_directory = at_bits + len(bits)
    short, long, text = 3, 4, 2
    tags = [
        (256, long, 1, _TILE),
        (257, long, 1, _TILE),
        (258, short, 3, at_bits),
        (259, short, 1, 33005),
        (262, short, 1, 2),
        (270, text, len(description), at_description),
        (277, short, 1, 3),
        (284, short, 1, 1),
        (322, long, 1, _TILE),
        (323, long, 1, _TILE),
        (324, long, 1, at_data),
        (325, long, 1, len(data)),
    ]
    content = b"II*\0" + struct.pack("<I", at_directory) + data.ljust(at_description - 8, b"\0")
    content += description.ljust(at_bits - at_description, b"\0") + bits
    content += struct.pack("<H", len(tags))
    content += b"".join(struct.pack("<HHII", *tag) for tag in tags) + struct.pack("<I", 0)
    path.write_bytes(content)
    return path


def _jpeg_tiles(path: Path) -> Check:
    """Whether hvit decodes JPEG tiles itself, and sees in each what OpenSlide sees."""
    name = f"libjpeg-turbo (simplejpeg {version('simplejpeg')}), JPEG tiles"
    try:
        with closing(open_decoder(path)) as decoder:
            size = decoder.sizes[0]
            if decoder.name != "libjpeg-turbo":
                return Check(
                    name=name,
                    state="beware",
                    found=f"{decoder.name} decodes them, slower",
                    hint=_REINSTALL_JPEG,
                )
            pixels = decoder.read(0, (0, 0), size)
        differing = int((pixels != _through_openslide(path)).any(axis=2).sum())
    except (HvitError, openslide.OpenSlideError, OSError, ValueError) as error:
        found = " ".join(str(error).split()) or type(error).__name__
        return Check(name=name, state="broken", found=found, hint=_REINSTALL_JPEG)
    tiles = (size[0] // _TILE) * (size[1] // _TILE)
    if differing:
        return Check(
            name=name,
            state="broken",
            found=f"{differing} pixels of {tiles} tiles are not those of OpenSlide",
            hint=_REINSTALL_JPEG,
        )
    return Check(name=name, state="fine", found=f"{tiles} tiles with the bytes of OpenSlide")


def _written_and_read(path: Path, compression: str, read: Callable[[Path], Pixels]) -> Pixels:
    return read(_vips_tiff(path, compression))


def _vips_tiff(path: Path, compression: str) -> Path:
    image = pyvips.Image.new_from_array(gradient()).copy(interpretation="srgb")
    image.tiffsave(
        str(path),
        tile=True,
        tile_width=_TILE,
        tile_height=_TILE,
        compression=compression,
        Q=95,
    )
    return path


def _through_openslide(path: Path) -> Pixels:
    with openslide.OpenSlide(path) as slide:
        picture = slide.read_region((0, 0), 0, slide.dimensions)
    return np.asarray(picture)[..., :3]


def _through_vips(path: Path) -> Pixels:
    pixels: Pixels = pyvips.Image.new_from_file(str(path)).numpy()[..., :3]
    return pixels


def _tried(name: str, read: Callable[[], Pixels], wanted: Pixels) -> Check:
    try:
        off = int(np.abs(read().astype(int) - wanted).max())
    except (openslide.OpenSlideError, pyvips.Error, OSError, ValueError) as error:
        found = " ".join(str(error).split()) or type(error).__name__
        return Check(name=name, state="broken", found=found, hint=_REINSTALL)
    if off > _MOST_OFF:
        return Check(
            name=name, state="broken", found=f"pixels differ by up to {off}", hint=_REINSTALL
        )
    return Check(name=name, state="fine", found=f"written and read again, pixels off by {off}")
