"""Slides in a folder and everything below it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hvit_cli.errors import ManifestError
from hvit_cli.slides.files import companion_folder, is_dicom_folder, is_slide_file

# Folders inside a work folder of hvit, whose masks and heatmaps are no slides.
_PRODUCTS = {"masks", "contours", "tiles", "features", "status", "models", "heatmaps", "qc"}


def slides_in_folder(folder: Path) -> list[Path]:
    """The slides in a folder and below, sorted by path.

    A folder with DICOM files is one slide. Hidden folders, the folders of MRXS slides, and
    what hvit wrote itself are not entered; links to folders are followed, no folder twice.

    Raises:
        ManifestError: A folder cannot be read.
    """
    return list(_walk(folder, set()))


def _walk(folder: Path, entered: set[Path]) -> Iterator[Path]:
    place = folder.resolve()
    if place in entered:
        return
    entered.add(place)
    try:
        if is_dicom_folder(folder):
            yield folder
            return
        children = sorted(folder.iterdir())
    except OSError as error:
        raise ManifestError(
            f"the folder cannot be read ({error.strerror})", where=folder
        ) from error
    companions = {companion_folder(child) for child in children}
    skipped = _PRODUCTS if _is_work_folder(folder) else set()
    for child in children:
        if child.name.startswith(".") or child in companions or child.name in skipped:
            continue
        if is_slide_file(child):
            yield child
        elif child.is_dir():
            yield from _walk(child, entered)


def _is_work_folder(folder: Path) -> bool:
    return (folder / "status.csv").exists() or any((folder / "status").glob("*.jsonl"))
