"""Maps as files: pictures by suffix, numbers as NPZ."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from hvit_cli.errors import StorageError, UsageError
from hvit_cli.heatmaps.encode import encode
from hvit_cli.heatmaps.maps import PatchMap, relative
from hvit_cli.heatmaps.render import RgbImage
from hvit_cli.heatmaps.tokens import TokenMap, relative_tokens
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


OutputKind = Literal["picture", "overlay", "ome", "cells"]

# Longer suffixes first: the last part of `.ome.tiff` is another format's.
_OUTPUTS: dict[str, OutputKind] = {
    ".ome.tiff": "ome",
    ".ome.tif": "ome",
    ".tiff": "overlay",
    ".tif": "overlay",
    ".geojson": "cells",
    **dict.fromkeys(_FORMATS, "picture"),
}


def output_kind(path: Path) -> OutputKind:
    """What is written to a file, by its suffix.

    Raises:
        UsageError: Another suffix.
    """
    for suffix, kind in _OUTPUTS.items():
        if path.name.lower().endswith(suffix):
            return kind
    raise UsageError(
        "a heatmap cannot be written in this format",
        where=path,
        found=path.suffix or "no suffix",
        wanted=", ".join([*_FORMATS, ".tiff", ".ome.tiff", ".geojson"]),
    )


def suffix_of(path: Path) -> str:
    """The suffix that decides what is written, as the file has it."""
    output_kind(path)
    known = next(suffix for suffix in _OUTPUTS if path.name.lower().endswith(suffix))
    return path.name[-len(known) :]


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
        if out.is_file() or out.suffix.lower() in (*_OUTPUTS, ".npz"):
            raise UsageError(
                "several slides need a folder, not one file",
                where=out,
                found=f"{len(slide_ids)} slides",
                hint=str(out.with_suffix("")),
            )
        _require_folder(out)
        return [out / f"{slide_id}{suffix}" for slide_id in slide_ids]
    format_of(out)
    _require_folder(out.parent)
    return [out]


def _require_folder(folder: Path) -> None:
    standing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not standing.is_dir():
        raise StorageError("not a folder, so nothing can be written there", where=standing)


class Drawing(Protocol):
    """A picture that can be had a few rows at a time."""

    @property
    def size_px(self) -> tuple[int, int]:
        """(width, height)."""
        ...

    def strips(self) -> Iterator[RgbImage]:
        """(rows, width, 3) from top to bottom."""
        ...


@dataclass(frozen=True)
class Still:
    """A picture that is there already.

    Attributes:
        picture: (height, width, 3).
    """

    picture: RgbImage

    @property
    def size_px(self) -> tuple[int, int]:
        """(width, height)."""
        return self.picture.shape[1], self.picture.shape[0]

    def strips(self) -> Iterator[RgbImage]:
        """All of it."""
        yield self.picture


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
            # Trying every filter on every row takes twice as long for 4 % of the file.
            image.pngsave(name, compression=6, filter="up", keep="none")

    encode(path, drawing.strips(), drawing.size_px, save)


def _arrays(raw: PatchMap | TokenMap, scaled: PatchMap | TokenMap) -> dict[str, Any]:
    """Every array of one map by its name."""
    if isinstance(raw, TokenMap) and isinstance(scaled, TokenMap):
        tokens = {
            "token_raw": raw.value,
            "token_relative": relative_tokens(raw),
            "token_scaled": scaled.value,
        }
        return {**_places(raw.patches), **tokens}
    if isinstance(raw, TokenMap) or isinstance(scaled, TokenMap):
        raise ValueError("a raw map and its scaled one are not of the same kind")
    shares = {} if raw.quantity in GRADE_MAPS else {"relative": relative(raw)}
    return {"raw": raw.value, **shares, "scaled": scaled.value, **_places(raw)}


def _places(patches: PatchMap) -> dict[str, Any]:
    return {
        "visible": patches.visible,
        "patch_xy_level0": patches.patch_xy_level0,
        "region_index": patches.region_index,
        "patch_index": patches.patch_index,
        "tissue_fraction": patches.tissue_fraction,
        "region_xy_level0": patches.region_xy_level0,
    }


def write_scores(
    path: Path,
    raw_maps: Mapping[str, PatchMap | TokenMap],
    scaled_maps: Mapping[str, PatchMap | TokenMap],
    metadata: Mapping[str, Any],
) -> None:
    """Writes the numbers behind a figure, one group of arrays for each map.

    The first map's arrays carry plain names; those of a further map begin with its key and
    an underscore. `docs/how-to/heatmaps.md` lists them with shapes and units.

    Args:
        path: Where to.
        raw_maps: The numbers as they are, by attention kind.
        scaled_maps: The same maps on the figure's scale, under the same keys.
        metadata: What was asked and answered, as JSON values.
    """
    arrays: dict[str, Any] = {}
    for i, (key, raw) in enumerate(raw_maps.items()):
        prefix = "" if i == 0 else f"{key}_"
        found = _arrays(raw, scaled_maps[key])
        arrays |= {f"{prefix}{name}": array for name, array in found.items()}
    described = {"kind": "hvit-heatmap-scores", "schema": SCORES_SCHEMA, **metadata}
    arrays["metadata"] = np.array(json.dumps(described, ensure_ascii=False, sort_keys=True))
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)
