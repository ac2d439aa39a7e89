"""Which files and folders are slides, and what they are called."""

from __future__ import annotations

import re
from pathlib import Path

# What OpenSlide reads, by suffix; `.dcm` files make a slide together, as a folder.
SLIDE_SUFFIXES = frozenset(
    {".svs", ".tif", ".tiff", ".ndpi", ".mrxs", ".scn"}
    | {".bif", ".vms", ".vmu", ".svslide", ".czi"}
)
PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg"})
MANIFEST_SUFFIXES = frozenset({".csv", ".tsv"})

_COMPOUND = re.compile(r"\.ome\.tiff?$", re.IGNORECASE)
_MASK_NAME = re.compile(r"[_-]masks?$", re.IGNORECASE)
# Group 0020, element 000E, of representation UI, little endian: the series' identifier.
_SERIES = re.compile(rb"\x20\x00\x0e\x00UI(..)", re.DOTALL)
_DICOM_HEADER_BYTES = 1 << 16


def slide_id_of(path: Path) -> str:
    """The name of the file or folder without its suffix; `.ome.tiff` is one suffix."""
    if path.is_dir():
        return path.name
    compound = _COMPOUND.search(path.name)
    return path.name[: compound.start()] if compound else path.stem


def is_mask_name(path: Path) -> bool:
    """Whether a file is by its name (…_mask.tiff, …-mask.png) a mask and not a slide."""
    return _MASK_NAME.search(slide_id_of(path)) is not None


def is_slide_file(path: Path) -> bool:
    """Whether a file is by its suffix a slide that a search through folders takes."""
    return path.suffix.lower() in SLIDE_SUFFIXES and path.is_file()


def is_dicom_folder(path: Path) -> bool:
    """Whether a folder holds DICOM files, which are one slide together."""
    return path.is_dir() and any(_dicom_files(path))


def dicom_files(folder: Path) -> list[Path]:
    """The DICOM files of a folder, sorted by name."""
    return sorted(_dicom_files(folder))


def _dicom_files(folder: Path) -> list[Path]:
    return [p for p in folder.iterdir() if p.suffix.lower() == ".dcm" and p.is_file()]


def dicom_series(file: Path) -> bytes | None:
    """The identifier of a DICOM file's series, or nothing where its header hides it."""
    with file.open("rb") as opened:
        header = opened.read(_DICOM_HEADER_BYTES)
    found = _SERIES.search(header)
    if found is None:
        return None
    start = found.end()
    length = int.from_bytes(found.group(1), "little")
    return header[start : start + length].rstrip(b"\0 ")


def companion_folder(path: Path) -> Path | None:
    """The folder beside an MRXS file that holds its pixels; nothing for other formats."""
    return path.with_suffix("") if path.suffix.lower() == ".mrxs" else None
