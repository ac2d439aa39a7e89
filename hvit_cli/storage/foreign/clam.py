"""CLAM's folders: `h5_files/<slide>.h5` and `pt_files/<slide>.pt`.

The HDF5 file holds `features` (N, D) float32 and `coords` (N, 2), top-left corners (x, y) in
level-0 pixels; the .pt file holds the same features alone. How large a patch is at level 0
stands elsewhere, in `patches/<slide>.h5`: attributes `patch_size`, `patch_level`, `downsample`
of its `coords`. Coordinates start at the bounding box of each tissue contour.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hvit_cli.errors import StorageError
from hvit_cli.storage.features import SlideFeatures
from hvit_cli.storage.foreign.hdf5 import Attributes, number, plain, read_datasets
from hvit_cli.storage.foreign.patches import (
    ForeignPatches,
    checked_coordinates,
    checked_features,
    file_fingerprint,
    files_by_slide,
    require_slides,
)
from hvit_cli.storage.foreign.selection import Rows, write_hdf5
from hvit_cli.storage.foreign.tensors import write_tensor


def find_clam(source: Path) -> dict[str, Path]:
    """Feature files by slide id.

    Args:
        source: The folder that holds `h5_files`, or `h5_files` itself.

    Raises:
        UsageError: There are none; `pt_files` alone hold no coordinates.
    """
    folder = source / "h5_files" if (source / "h5_files").is_dir() else source
    wanted = "h5_files/<slide>.h5 (pt_files alone hold no coordinates)"
    return require_slides(files_by_slide(folder.glob("*.h5"), ".h5"), source, wanted)


def read_clam(slide_id: str, path: Path) -> ForeignPatches:
    """Reads one slide; the size of its patches from `patches/<slide>.h5`, where that is found.

    Raises:
        StorageError: A file cannot be read, or lacks an array.
    """
    arrays, attributes = read_datasets(path, ("features", "coords"))
    features = checked_features(arrays["features"], path, "features")
    about, inputs = attributes["coords"], {"features": file_fingerprint(path)}
    patches = _patches_file(slide_id, path)
    if "patch_level" not in about and patches is not None:
        about = read_datasets(patches, ("coords",))[1]["coords"]
        inputs["patches"] = file_fingerprint(patches)
    patch_px = number(about, "patch_size", path)
    return ForeignPatches(
        slide_id=slide_id,
        features=features,
        xy_level0=checked_coordinates(arrays["coords"], len(features), path, "coords"),
        patch_level0=_patch_level0(about, patches or path),
        patch_px=None if patch_px is None else int(patch_px),
        inputs=inputs,
    )


def _patches_file(slide_id: str, path: Path) -> Path | None:
    """`patches/<slide>.h5` beside the features, or beside their folder."""
    for folder in path.parents[1:3]:
        file = folder / "patches" / f"{slide_id}.h5"
        if file.is_file():
            return file
    return None


def _patch_level0(about: Attributes, where: Path) -> int | None:
    size = number(about, "patch_size", where)
    if size is None or about.get("patch_level") is None:
        return None
    stated = plain(about.get("downsample", 1))
    downsample = stated[0] if isinstance(stated, list) else stated
    try:
        # CLAM truncates the downsample of a level before it multiplies.
        return int(size) * int(float(downsample))
    except (TypeError, ValueError) as error:
        raise StorageError(
            "an attribute is no number", where=f"{where}: coords.downsample", found=repr(stated)
        ) from error


def clam_path(folder: Path, slide: SlideFeatures) -> Path:
    """Where CLAM's readers look for a slide's features with coordinates."""
    return folder / "h5_files" / f"{slide.slide_id}.h5"


def write_clam(path: Path, slide: SlideFeatures, rows: Rows, stamp: Mapping[str, Any]) -> None:
    """Writes one slide: `pt_files` first, `h5_files` last.

    `coords` carries what CLAM writes beside coordinates when it cuts patches. Patches that were
    reduced have no level whose pixels they are: level 0 and their size there is what is stated.
    """
    write_tensor(path.parents[1] / "pt_files" / f"{slide.slide_id}.pt", rows.features)
    about = {
        "patch_size": round(slide.patch_level0),
        "patch_level": 0,
        "downsample": [1.0, 1.0],
        "level_dim": list(slide.size_level0),
        "name": slide.slide_id,
    }
    write_hdf5(path, {"features": rows.features, "coords": rows.coords}, {"coords": about}, stamp)
