"""Maps as files: pictures by suffix, numbers as NPZ."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from hvit_cli.errors import UsageError
from hvit_cli.heatmaps.maps import PatchMap, relative
from hvit_cli.heatmaps.render import RgbImage

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


def check_scores_path(path: Path) -> None:
    """Refuses a name for the numbers that is not an NPZ file's.

    Raises:
        UsageError: Another suffix.
    """
    if path.suffix.lower() != ".npz":
        raise UsageError(
            "scores are written as NPZ", where=path, found=path.suffix or "no suffix", wanted=".npz"
        )


def write_picture(path: Path, picture: RgbImage) -> None:
    """Writes a PNG or JPEG to the path given.

    Raises:
        UsageError: The suffix is of another format.
    """
    kind = picture_format(path)
    image = Image.fromarray(picture)
    if kind == "JPEG":
        image.save(path, kind, quality=92, subsampling=0, optimize=True)
    else:
        image.save(path, kind)


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
            f"{prefix}relative": relative(raw),
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
