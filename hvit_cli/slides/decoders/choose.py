"""Opens a slide's file with the decoder that suits it, or says in one line why it cannot."""

from __future__ import annotations

from pathlib import Path

import openslide

from hvit_cli.errors import PixelError, UnreadableSlideError
from hvit_cli.slides.decoders.base import Decoder
from hvit_cli.slides.decoders.jpeg_stream import OddJpegError
from hvit_cli.slides.decoders.jpeg_tiles import JpegTileDecoder
from hvit_cli.slides.decoders.openslide_decoder import OpenSlideDecoder
from hvit_cli.slides.decoders.picture_decoder import PictureDecoder
from hvit_cli.slides.decoders.vips_decoder import VipsDecoder, pages_of_levels
from hvit_cli.slides.files import (
    PICTURE_SUFFIXES,
    companion_folder,
    dicom_files,
    dicom_series,
)
from hvit_cli.slides.tiff import TiffDirectory, read_directories

_CONVERT = "vips tiffsave IN OUT.tiff --tile --pyramid --compression jpeg --Q 90"
_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_TIFF_VENDORS = {"aperio", "generic-tiff"}


def open_decoder(path: Path) -> Decoder:
    """Opens a file, or a folder of DICOM files, for reading.

    OpenSlide says what the slide is. Tiled TIFFs whose pixels another library decodes equally
    are read through it: libjpeg-turbo where all tiles are JPEG, else libvips. PNG and JPEG
    pictures are read through Pillow, all else through OpenSlide.

    Raises:
        UnreadableSlideError: The file is missing, damaged, or no slide.
    """
    magic = _magic(path)
    if path.suffix.lower() in PICTURE_SUFFIXES:
        return PictureDecoder(path)
    _check_companion(path)
    try:
        slide = OpenSlideDecoder(_entry_file(path))
    except openslide.OpenSlideUnsupportedFormatError as error:
        raise _explained(path, magic) from error
    except openslide.OpenSlideError as error:
        reason = str(error).replace(str(path), path.name)
        raise UnreadableSlideError(
            f"OpenSlide cannot open the slide ({reason})", where=path, hint="a fresh copy"
        ) from error
    if slide.vendor in _TIFF_VENDORS:
        return _faster(path, slide)
    return slide


def _faster(path: Path, slide: OpenSlideDecoder) -> Decoder:
    directories = _directories(path)
    pages = pages_of_levels(slide.sizes, slide.vendor, directories)
    if pages is None:
        return slide
    try:
        tiles = _through_jpeg(path, tuple(directories[page] for page in pages), slide)
        if tiles is not None:
            return tiles
        decoder = VipsDecoder(path, pages, slide)
        return decoder if decoder.agrees() else slide
    except PixelError:
        # The sample is damaged; whoever reads it hears so from OpenSlide.
        return slide


def _through_jpeg(
    path: Path, pages: tuple[TiffDirectory, ...], slide: OpenSlideDecoder
) -> JpegTileDecoder | None:
    try:
        decoder = JpegTileDecoder(path, pages, slide)
    except (OddJpegError, OSError):
        return None
    return decoder if decoder.agrees() else None


def _directories(path: Path) -> tuple[TiffDirectory, ...]:
    try:
        return read_directories(path)
    except UnreadableSlideError:
        # OpenSlide opened the file all the same and reads it then.
        return ()


def _magic(path: Path) -> bytes:
    if path.is_dir():
        return b""
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except FileNotFoundError as error:
        raise UnreadableSlideError("there is no such file", where=path) from error
    except OSError as error:
        reason = error.strerror or error
        raise UnreadableSlideError(f"the file cannot be read ({reason})", where=path) from error
    if not magic:
        raise UnreadableSlideError("the file is empty", where=path, hint="a fresh copy")
    return magic


def _entry_file(path: Path) -> Path:
    """The file OpenSlide opens: for a folder the first of its DICOM files."""
    if not path.is_dir():
        return path
    files = dicom_files(path)
    if not files:
        raise UnreadableSlideError(
            "the folder is not a slide", where=path, wanted="a folder with DICOM files (.dcm)"
        )
    series = {dicom_series(file) for file in files} - {None}
    if len(series) > 1:
        raise UnreadableSlideError(
            "the folder holds several DICOM series",
            where=path,
            found=f"{len(series)} series in {len(files)} files",
            wanted="one slide per folder",
        )
    return files[0]


def _check_companion(path: Path) -> None:
    folder = companion_folder(path)
    if folder is not None and not folder.is_dir():
        raise UnreadableSlideError(
            "the folder with the pixels of this MRXS file is missing",
            where=path,
            wanted=f"the folder {folder.name} beside it",
            hint="copying the .mrxs file together with its folder",
        )


def _explained(path: Path, magic: bytes) -> UnreadableSlideError:
    """What is wrong with a file that OpenSlide does not know."""
    if magic not in _TIFF_MAGIC:
        return UnreadableSlideError("not a slide of a known format", where=path)
    try:
        directories = read_directories(path)
    except UnreadableSlideError as error:
        return error
    if directories and not directories[0].is_tiled:
        return UnreadableSlideError(
            "the TIFF is not tiled, so that parts of it cannot be read quickly",
            where=path,
            hint=_CONVERT,
        )
    # libvips opens some of these, with false colours: no other library is asked.
    return UnreadableSlideError(
        "OpenSlide does not know this kind of TIFF",
        where=path,
        hint="exporting it anew as a pyramidal TIFF or OME-TIFF, for instance from QuPath",
    )
