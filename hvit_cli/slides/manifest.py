"""From files, folders and manifests to the list of slides of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hvit_cli.errors import ManifestError
from hvit_cli.settings import TissueSettings
from hvit_cli.slides.entry import SlideEntry
from hvit_cli.slides.files import (
    MANIFEST_SUFFIXES,
    PICTURE_SUFFIXES,
    is_mask_name,
    slide_id_of,
)
from hvit_cli.slides.folder import slides_in_folder
from hvit_cli.slides.table import read_manifest, read_slide_ids

__all__ = ["SlideEntry", "find_slides"]

_MOST_NAMED = 5


def find_slides(
    sources: Sequence[Path],
    *,
    exclude: Path | None = None,
    mask_pattern: str = TissueSettings.mask_pattern,
) -> list[SlideEntry]:
    """Lists the slides that files, folders and manifests name, in that order.

    A folder is searched with everything below it, sorted by path; a folder of DICOM files is
    one slide. PNG and JPEG pictures count only when they are named one by one or in a
    manifest. Files that are masks by their name are left out, unless a manifest says they are
    slides.

    Args:
        sources: Slides, folders, and manifests (CSV or TSV).
        exclude: Table with a column slide_id: slides to leave out.
        mask_pattern: Name of a slide's mask, such as `{slide_id}_mask.tiff`.

    Raises:
        ManifestError: A source or slide is missing, a manifest cannot be understood, two
            slides share one slide_id, or nothing is left.
    """
    _check_all_exist(sources)
    entries: list[SlideEntry] = []
    for source in sources:
        if source.suffix.lower() in MANIFEST_SUFFIXES and source.is_file():
            entries += read_manifest(source)
        else:
            paths = slides_in_folder(source) if source.is_dir() else [source]
            entries += [SlideEntry(slide_id=slide_id_of(path), path=path) for path in paths]
    found = _without_masks(_once_each(entries), mask_pattern)
    if not found:
        raise _nothing_found(sources, entries)
    _check_unique(found)
    if exclude is None:
        return found
    left_out = read_slide_ids(exclude)
    kept = [entry for entry in found if entry.slide_id not in left_out]
    if not kept:
        raise ManifestError("every slide is excluded", where=exclude, found=f"{len(found)} slides")
    return kept


def _check_all_exist(sources: Sequence[Path]) -> None:
    missing = [source for source in sources if not source.exists()]
    if missing:
        raise ManifestError("no such file or folder", found=_named(missing))


def _once_each(entries: Sequence[SlideEntry]) -> list[SlideEntry]:
    """Drops repetitions of a file; what a manifest says of it wins over the bare file."""
    claimed = {entry.path.resolve() for entry in entries if not entry.is_bare}
    seen: set[Path | SlideEntry] = set()
    kept = []
    for entry in entries:
        place = entry.path.resolve()
        key = place if entry.is_bare else entry
        if key not in seen and not (entry.is_bare and place in claimed):
            kept.append(entry)
        seen.add(key)
    return kept


def _without_masks(entries: Sequence[SlideEntry], mask_pattern: str) -> list[SlideEntry]:
    named = {entry.mask_path.resolve() for entry in entries if entry.mask_path is not None}
    # A slide that is called like its own mask (`{slide_id}.tiff`) proves nothing.
    expected = {
        mask_pattern.replace("{slide_id}", entry.slide_id)
        for entry in entries
        if entry.path.name != mask_pattern.replace("{slide_id}", entry.slide_id)
    }

    def is_mask(entry: SlideEntry) -> bool:
        return entry.is_bare and (
            is_mask_name(entry.path) or entry.path.resolve() in named or entry.path.name in expected
        )

    return [entry for entry in entries if not is_mask(entry)]


def _check_unique(entries: Sequence[SlideEntry]) -> None:
    first: dict[str, SlideEntry] = {}
    for entry in entries:
        # Names that differ in case alone would share their files on macOS.
        other = first.setdefault(entry.slide_id.casefold(), entry)
        if other is not entry:
            raise ManifestError(
                f"two slides are called {entry.slide_id}",
                found=f"{other.path} and {entry.path}",
                wanted="a slide_id for each",
                hint="a manifest (CSV) with the columns slide_id,path",
            )


def _nothing_found(sources: Sequence[Path], entries: Sequence[SlideEntry]) -> ManifestError:
    where = _named(sources)
    if entries:
        return ManifestError(
            "these are masks by their names, not slides", where=where, hint="the slides themselves"
        )
    pictures = sum(
        path.suffix.lower() in PICTURE_SUFFIXES
        for source in sources
        if source.is_dir()
        for path in source.iterdir()
    )
    if pictures:
        return ManifestError(
            "no slides found, only pictures",
            where=where,
            found=f"{pictures} PNG or JPEG files",
            hint="naming the pictures one by one or in a manifest",
        )
    return ManifestError("no slides found", where=where)


def _named(paths: Sequence[Path]) -> str:
    more = len(paths) - _MOST_NAMED
    return ", ".join(map(str, paths[:_MOST_NAMED])) + (f" and {more} more" if more > 0 else "")
