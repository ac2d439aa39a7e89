"""Manifests: tables that name slides, under hvit's headings or those of other programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from hvit_cli.errors import ManifestError
from hvit_cli.slides.cells import as_written
from hvit_cli.slides.entry import SlideEntry
from hvit_cli.slides.files import slide_id_of
from hvit_cli.slides.folder import slides_in_folder

# hvit's heading, and what TRIDENT, hs2p, CLAM and PANDA call the same.
_HEADINGS = {
    "slide_id": ("slide_id", "sample_id", "image_id"),
    "path": ("path", "image_path", "wsi"),
    "case_id": ("case_id",),
    "spacing_um": ("spacing_um", "mpp", "spacing_at_level_0"),
    "mask_path": ("mask_path",),
    "label": ("label",),
    "group": ("group",),
}
_SEPARATORS = ",;\t"
_MOST_NAMED = 5

Row = Mapping[str, str]


def read_manifest(manifest: Path) -> list[SlideEntry]:
    """The slides that a manifest names, in its order.

    Columns: slide_id and path, or one of them; optionally case_id, spacing_um, mask_path,
    label and group. The headings of TRIDENT (wsi, mpp), hs2p (sample_id, image_path,
    spacing_at_level_0) and CLAM (slide_id alone) are understood; other columns are ignored.
    Identifiers are text: 007 stays 007. Relative paths start at the manifest's folder, and a
    slide_id without a path is looked for there and below.

    Raises:
        ManifestError: The table cannot be read or understood, or files are missing: all of
            them are named together.
    """
    rows = _rows(manifest)
    if not {"slide_id", "path"} & set(rows[0][1]):
        raise ManifestError(
            "the manifest names no slides",
            where=manifest,
            found="the columns " + ", ".join(_header(manifest)),
            wanted="slide_id or path",
        )
    by_name = _Neighbours(manifest.parent)
    entries = [_entry(manifest, number, row, by_name) for number, row in rows]
    missing = [
        f"{path} (row {number})"
        for (number, _), entry in zip(rows, entries, strict=True)
        for path in (entry.path, entry.mask_path)
        if path is not None and not path.exists()
    ]
    if missing:
        more = len(missing) - _MOST_NAMED
        raise ManifestError(
            f"{len(missing)} of the files it names are missing",
            where=manifest,
            found=", ".join(missing[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else ""),
            hint="paths that are absolute or start at the manifest's folder",
        )
    return entries


def read_slide_ids(table: Path) -> frozenset[str]:
    """The slides in the column slide_id of a table, such as the list of those to exclude.

    Raises:
        ManifestError: The table cannot be read or has no such column.
    """
    if not table.exists():
        raise ManifestError("no such file", where=table)
    rows = _rows(table)
    if "slide_id" not in rows[0][1]:
        raise ManifestError("the table has no column slide_id", where=table)
    return frozenset(row["slide_id"] for _, row in rows)


class _Neighbours:
    """Slides beside a manifest, by name; looked for only when a row has no path."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._paths: dict[str, list[Path]] | None = None

    def __getitem__(self, name: str) -> Path:
        if self._paths is None:
            self._paths = {}
            for path in slides_in_folder(self._folder):
                for key in {path.name, slide_id_of(path)}:
                    self._paths.setdefault(key, []).append(path)
        found = self._paths.get(name, [])
        if len(found) > 1:
            raise ManifestError(
                f"several slides are called {name}",
                where=self._folder,
                found=" and ".join(map(str, found[:2])),
                hint="a column path in the manifest",
            )
        return found[0] if found else self._folder / name


def _entry(manifest: Path, number: int, row: Row, by_name: _Neighbours) -> SlideEntry:
    slide_id, written = row.get("slide_id", ""), row.get("path", "")
    if not slide_id and not written:
        raise ManifestError(
            "a row names no slide", where=f"{manifest}, row {number}", wanted="slide_id or path"
        )
    folder = manifest.parent
    path = folder / written if written else by_name[slide_id]
    if not slide_id or (not written and slide_id == path.name):
        # CLAM's lists of slides to process hold file names where an identifier is meant.
        slide_id = slide_id_of(path)
    mask = row.get("mask_path")
    return SlideEntry(
        slide_id=slide_id,
        path=path,
        case_id=row.get("case_id") or None,
        spacing_um=_spacing_um(manifest, number, row.get("spacing_um", "")),
        mask_path=folder / mask if mask else None,
        label=row.get("label") or None,
        group=row.get("group") or None,
        is_bare=False,
    )


def _spacing_um(manifest: Path, number: int, text: str) -> float | None:
    if not text:
        return None
    try:
        # A spreadsheet that separates cells by semicolons writes 0,25 for 0.25.
        return float(text.replace(",", "."))
    except ValueError as error:
        raise ManifestError(
            "the spacing is not a number",
            where=f"{manifest}, row {number}",
            found=repr(text),
            wanted="µm per pixel of level 0, such as 0.25",
        ) from error


def _header(table: Path) -> list[str]:
    lines = _text(table).splitlines()
    return next(csv.reader(lines[:1], delimiter=_separator(lines[0])), []) if lines else []


def _rows(table: Path) -> list[tuple[int, Row]]:
    """The rows of a table by their number, under hvit's headings; empty ones left out."""
    header = [cell.strip().lower() for cell in _header(table)]
    if not header:
        raise ManifestError("the table is empty", where=table)
    columns = _columns(table, header)
    text = _text(table)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_separator(text.splitlines()[0]))
    rows: list[tuple[int, Row]] = []
    for number, cells in enumerate(_cells(table, reader), start=1):
        if number == 1 or not any(cell.strip() for cell in cells):
            continue
        if any(cell.strip() for cell in cells[len(header) :]):
            raise ManifestError(
                "a row has more cells than there are headings",
                where=f"{table}, row {number}",
                found=len(cells),
                wanted=len(header),
            )
        cells += [""] * (len(header) - len(cells))
        rows.append(
            (number, {name: as_written(cells[place].strip()) for name, place in columns.items()})
        )
    if not rows:
        raise ManifestError("the table has headings and no rows", where=table)
    return rows


def _cells(table: Path, reader: Iterable[list[str]]) -> Iterator[list[str]]:
    try:
        yield from reader
    except csv.Error as error:
        raise ManifestError(f"the table cannot be read ({error})", where=table) from error


def _columns(table: Path, header: list[str]) -> dict[str, int]:
    columns = {}
    for name, known in _HEADINGS.items():
        places = [place for place, heading in enumerate(header) if heading in known]
        if len(places) > 1:
            raise ManifestError(
                f"several columns hold the {name}",
                where=table,
                found=" and ".join(header[place] for place in places),
                wanted="one",
            )
        if places:
            columns[name] = places[0]
    return columns


def _separator(header: str) -> str:
    return max(_SEPARATORS, key=header.count)


def _text(table: Path) -> str:
    try:
        content = table.read_bytes()
        # Spreadsheets mark their files with these; "Unicode text" of Excel is UTF-16.
        encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
        return content.decode(encoding)
    except OSError as error:
        raise ManifestError(f"the table cannot be read ({error.strerror})", where=table) from error
    except UnicodeDecodeError as error:
        raise ManifestError(
            "the table is not text", where=table, wanted="CSV in UTF-8", hint="saving it as UTF-8"
        ) from error
