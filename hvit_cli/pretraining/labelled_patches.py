"""Patches with a label each: the table that names them, and their pixels.

    slide_id,path,x_level0,y_level0,label[,group][,part]

A row is the top-left corner of a patch in level-0 pixels. Paths start at the table's folder.
With `part`, patches of the `bank` tell what those of the `query` are; without, every group is
told by all the others. A group (the slide, where nothing is said) is what belongs together: a
field, a patient. Nothing of one group ever stands on both sides.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from hvit_cli.errors import LabelError, UsageError
from hvit_cli.settings import ReadingSettings, TilingSettings
from hvit_cli.slides.files import slide_id_of
from hvit_cli.slides.reader import Slide, open_slide
from hvit_cli.storage.tables import read_table
from hvit_cli.training.problems import Problem, problem, refuse

Part = Literal["bank", "query"]
Pixels = npt.NDArray[np.uint8]

COLUMNS = ("slide_id", "path", "x_level0", "y_level0", "label", "group", "part")
PARTS: tuple[Part, Part] = ("bank", "query")
MAX_BYTES = 4 << 30
"""Pixels held in memory, at most: about 21,000 patches of 256 px."""

_NEEDED = ("path", "x_level0", "y_level0", "label")


@dataclass(frozen=True, kw_only=True)
class LabelledPatch:
    """One row of the table.

    Attributes:
        slide_id: The slide's name.
        path: Its file.
        xy_level0: Top-left corner (x, y) in level-0 pixels.
        label: What the patch shows.
        group: What it belongs together with.
        part: Whether it tells or is told; None where whole groups take turns.
    """

    slide_id: str
    path: Path
    xy_level0: tuple[float, float]
    label: str
    group: str
    part: Part | None


@dataclass(frozen=True, kw_only=True)
class PatchTable:
    """A checked table of labelled patches.

    Attributes:
        path: The table.
        rows: Its patches, in its order.
    """

    path: Path
    rows: tuple[LabelledPatch, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels that occur, sorted."""
        return tuple(sorted({row.label for row in self.rows}))

    @property
    def judged_slides(self) -> frozenset[str]:
        """Slides whose patches are told, and so judge an encoder."""
        return frozenset(row.slide_id for row in self.rows if row.part != "bank")


@dataclass(frozen=True, kw_only=True)
class LabelledPatches:
    """Labelled patches with their pixels, in the order of the table.

    Attributes:
        table: Where they come from.
        pixels: (n, patch, patch, 3) uint8 RGB.
        spacing_um: The spacing that was asked for.
    """

    table: PatchTable
    pixels: Pixels
    spacing_um: float

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def label(self) -> npt.NDArray[np.int64]:
        """(n,) index of each patch's label in the classes."""
        index = {name: i for i, name in enumerate(self.table.classes)}
        return np.array([index[row.label] for row in self.table.rows], np.int64)

    @property
    def group(self) -> npt.NDArray[np.int64]:
        """(n,) number of each patch's group."""
        names = sorted({row.group for row in self.table.rows})
        index = {name: i for i, name in enumerate(names)}
        return np.array([index[row.group] for row in self.table.rows], np.int64)

    @property
    def is_bank(self) -> npt.NDArray[np.bool_] | None:
        """(n,) whether a patch tells and is not told; None where groups take turns."""
        parts = [row.part for row in self.table.rows]
        return None if parts[0] is None else np.array([part == "bank" for part in parts])


def read_patch_table(path: Path) -> PatchTable:
    """Reads a table of labelled patches and names everything that is wrong with it.

    Raises:
        StorageError: The file is no table.
        LabelError: A column or value is missing or cannot be understood, slides are missing,
            one label is all there is, or a group stands on both sides.
    """
    columns, rows = read_table(path)
    absent = [name for name in _NEEDED if name not in columns]
    if absent:
        raise LabelError(
            "this is no table of labelled patches",
            where=path,
            found=", ".join(columns),
            wanted=f"{', '.join(COLUMNS[:5])}, and group and part where they are known",
        )
    refuse("the labelled patches cannot be used as they are", path, _bad_rows(rows))
    patches = tuple(_patch(path.parent, row) for row in rows)
    table = PatchTable(path=path, rows=patches)
    refuse("the labelled patches cannot be used as they are", path, _contradictions(table))
    if len(table.classes) < 2:
        raise LabelError(
            "one label is all there is, and there is nothing to tell apart",
            where=path,
            found=", ".join(table.classes) or "no row",
        )
    return table


def read_labelled_patches(
    table: PatchTable,
    reading: ReadingSettings,
    *,
    patch_px: int = TilingSettings.patch_px,
    max_bytes: int = MAX_BYTES,
) -> LabelledPatches:
    """Reads the pixels of labelled patches from their slides.

    Args:
        table: From `read_patch_table`.
        reading: At which spacing, and where slides' own spacings come from.
        patch_px: Side of a patch in pixels at that spacing.
        max_bytes: Memory that the pixels may take.

    Raises:
        SlideError: A slide cannot be read at that spacing.
        LabelError: A patch lies outside its slide.
        UsageError: The pixels would not fit.
    """
    each = patch_px**2 * 3
    if len(table.rows) * each > max_bytes:
        raise UsageError(
            "these are more labelled patches than are kept in memory",
            where=table.path,
            found=len(table.rows),
            wanted=f"at most {max_bytes // each} of {patch_px} px",
            hint="a random part of the rows",
        )
    pixels = np.empty((len(table.rows), patch_px, patch_px, 3), np.uint8)
    of_slide: dict[str, list[int]] = defaultdict(list)
    for n, row in enumerate(table.rows):
        of_slide[row.slide_id].append(n)
    for slide_id, numbers in of_slide.items():
        with open_slide(table.rows[numbers[0]].path, reading, slide_id=slide_id) as slide:
            plan = slide.plan(reading)
            corners = [table.rows[n].xy_level0 for n in numbers]
            _require_inside(table, slide, corners, patch_px * plan.level0_per_px)
            for n, corner in zip(numbers, corners, strict=True):
                pixels[n] = slide.read_patch(plan, corner, patch_px)
    return LabelledPatches(table=table, pixels=pixels, spacing_um=reading.spacing_um)


def _bad_rows(rows: list[dict[str, str]]) -> list[Problem]:
    numbered = [(f"row {number}", row) for number, row in enumerate(rows, start=2)]
    bad = [where for where, row in numbered if not (row["path"] and row["label"])]
    found = problem("rows without a path or a label", bad)
    bad = [where for where, row in numbered if not all(map(_is_number, _corner(row)))]
    found += problem("rows whose corner is no pair of numbers", bad)
    given = [(where, row.get("part", "")) for where, row in numbered]
    if any(part for _, part in given):
        bad = [f"{where}: {part!r}" for where, part in given if part not in PARTS]
        found += problem("rows whose part is neither bank nor query", bad)
    return found


def _contradictions(table: PatchTable) -> list[Problem]:
    paths = {row.path: None for row in table.rows}
    found = problem("slides that are missing", [str(path) for path in paths if not path.exists()])
    path_of: dict[str, set[Path]] = defaultdict(set)
    parts_of: dict[str, set[Part | None]] = defaultdict(set)
    for row in table.rows:
        path_of[row.slide_id].add(row.path)
        parts_of[row.group].add(row.part)
    found += problem("slide_ids of several files", [i for i, of in path_of.items() if len(of) > 1])
    both = [group for group, parts in parts_of.items() if len(parts) > 1]
    found += problem("groups in bank and query alike", both)
    given = {row.part for row in table.rows}
    if given == {None} and len(parts_of) < 2:
        found += problem(
            "group is all there is, and no other can tell it",
            list(parts_of),
            "a column group, or part with bank and query",
        )
    if None not in given and len(given) < 2:
        lacking = sorted(set(PARTS) - given)
        found += problem("part without a row", lacking)
    return found


def _patch(folder: Path, row: dict[str, str]) -> LabelledPatch:
    path = folder / row["path"]
    slide_id = row.get("slide_id") or slide_id_of(path)
    part = row.get("part", "")
    x, y = _corner(row)
    return LabelledPatch(
        slide_id=slide_id,
        path=path,
        xy_level0=(float(x), float(y)),
        label=row["label"],
        group=row.get("group") or slide_id,
        part="bank" if part == "bank" else "query" if part == "query" else None,
    )


def _corner(row: dict[str, str]) -> tuple[str, str]:
    return row["x_level0"], row["y_level0"]


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _require_inside(
    table: PatchTable, slide: Slide, corners: list[tuple[float, float]], side_level0: float
) -> None:
    width, height = slide.geometry.size_level0
    outside = [
        f"{slide.slide_id} at {x:g},{y:g}"
        for x, y in corners
        if x <= -side_level0 or y <= -side_level0 or x >= width or y >= height
    ]
    refuse(
        "the labelled patches do not belong to these slides",
        table.path,
        problem("patches outside their slides", outside),
    )
