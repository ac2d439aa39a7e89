"""Maps as files: pictures by suffix, numbers as NPZ."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from hvit_cli.errors import StorageError, UsageError
from hvit_cli.heatmaps.encode import encode
from hvit_cli.heatmaps.maps import PatchMap, relative
from hvit_cli.heatmaps.render import RgbImage
from hvit_cli.settings import GRADE_MAPS

_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
SCORES_SCHEMA = 1


def picture_format(path: Path) -> str:
    """PNG or JPEG, by the suffix of the file.

    Raises:
        UsageError: Another suffix.
    """
    found = _FORMATS.get(path.suffix.lower())
    if found is None:
        raise UsageError(
            "a heatmap cannot be written in this format",
            where=path,
            found=path.suffix or "no suffix",
            wanted=", ".join(_FORMATS),
        )
    return found


def scores_format(path: Path) -> str:
    """NPZ, the only format of the numbers.

    Raises:
        UsageError: Another suffix.
    """
    if path.suffix.lower() != ".npz":
        raise UsageError(
            "scores are written as NPZ", where=path, found=path.suffix or "no suffix", wanted=".npz"
        )
    return "NPZ"


def places(
    out: Path, slide_ids: Sequence[str], suffix: str, format_of: Callable[[Path], str]
) -> list[Path]:
    """Where each slide's file goes: `out` itself for a single slide, else into the folder `out`.

    Args:
        out: What the user said. An existing folder is a folder for a single slide too.
        slide_ids: The slides of the run.
        suffix: Of files in a folder.
        format_of: Refuses a file name of another format.

    Raises:
        UsageError: A file for several slides, or a file of another format.
        StorageError: Nothing can be written there.
    """
    if out.is_dir() or len(slide_ids) > 1:
        if out.is_file() or out.suffix.lower() in (*_FORMATS, ".npz"):
            raise UsageError(
                "several slides need a folder, not one file",
                where=out,
                found=f"{len(slide_ids)} slides",
                hint=str(out.with_suffix("")),
            )
        _require_writable(out)
        return [out / f"{slide_id}{suffix}" for slide_id in slide_ids]
    format_of(out)
    _require_writable(out.parent)
    return [out]


def _require_writable(folder: Path) -> None:
    standing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not standing.is_dir():
        raise StorageError("not a folder, so nothing can be written there", where=standing)
    if not os.access(standing, os.W_OK | os.X_OK):
        raise StorageError(
            "the folder cannot be written to", where=standing, hint="another place with -o"
        )


class Drawing(Protocol):
    """A picture that can be had a few rows at a time."""

    @property
    def size_px(self) -> tuple[int, int]:
        """(width, height)."""
        ...

    def strips(self) -> Iterator[RgbImage]:
        """(rows, width, 3) from top to bottom."""
        ...


def write_picture(path: Path, drawing: Drawing) -> None:
    """Writes a PNG or JPEG to the path given, however large, a few rows at a time.

    Raises:
        UsageError: The suffix is of another format.
        StorageError: The file cannot be written.
    """
    kind = picture_format(path)

    def save(image: Any, name: str) -> None:
        if kind == "JPEG":
            # Optimised tables would need a second pass, and so the whole picture in memory.
            image.jpegsave(name, Q=92, subsample_mode="off", keep="none")
        else:
            image.pngsave(name, compression=6, filter="all", keep="none")

    encode(path, drawing.strips(), drawing.size_px, save)


def write_scores(
    path: Path,
    raw_maps: Mapping[str, PatchMap],
    scaled_maps: Mapping[str, PatchMap],
    metadata: Mapping[str, Any],
) -> None:
    """Writes the numbers behind a figure, one group of arrays for each map.

    The first map's arrays carry plain names; those of a further map begin with its key and
    an underscore. `docs/how-to/heatmaps.md` lists them with shapes and units.

    Args:
        path: Where to.
        raw_maps: Attention as it is, by attention kind.
        scaled_maps: The same maps on the figure's scale, under the same keys.
        metadata: What was asked and answered, as JSON values.
    """
    arrays: dict[str, Any] = {}
    for i, (key, raw) in enumerate(raw_maps.items()):
        prefix = "" if i == 0 else f"{key}_"
        arrays |= {
            f"{prefix}raw": raw.value,
            **({} if raw.quantity in GRADE_MAPS else {f"{prefix}relative": relative(raw)}),
            f"{prefix}scaled": scaled_maps[key].value,
            f"{prefix}visible": raw.visible,
            f"{prefix}patch_xy_level0": raw.patch_xy_level0,
            f"{prefix}region_index": raw.region_index,
            f"{prefix}patch_index": raw.patch_index,
            f"{prefix}tissue_fraction": raw.tissue_fraction,
            f"{prefix}region_xy_level0": raw.region_xy_level0,
        }
    described = {"kind": "hvit-heatmap-scores", "schema": SCORES_SCHEMA, **metadata}
    arrays["metadata"] = np.array(json.dumps(described, ensure_ascii=False, sort_keys=True))
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)
