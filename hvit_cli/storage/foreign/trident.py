"""TRIDENT's folders: `features_<encoder>/<slide>.h5` below one folder of coordinates.

A file holds `features` (N, D) and `coords` (N, 2), top-left corners (x, y) in level-0 pixels on
one lattice per slide. Attributes of `coords`: `patch_size` (output pixels), `patch_size_level0`
(a whole number, rounded down), `level0_magnification`, `target_magnification` (10 / spacing),
`overlap`, `name`, `level0_width`, `level0_height`; of `features`: `encoder`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hvit_cli.errors import StorageError, UsageError
from hvit_cli.storage.features import SlideFeatures
from hvit_cli.storage.foreign.hdf5 import number, read_datasets
from hvit_cli.storage.foreign.patches import (
    ForeignPatches,
    checked_coordinates,
    checked_features,
    file_fingerprint,
    files_by_slide,
    require_slides,
)
from hvit_cli.storage.foreign.selection import Rows, write_hdf5

_FOLDER = "features_"


def find_trident(source: Path) -> dict[str, Path]:
    """Feature files by slide id.

    Args:
        source: A folder `features_<encoder>`, or one above it that holds exactly one.

    Raises:
        UsageError: There is none, or there are several.
    """
    folders = [source] if any(source.glob("*.h5")) else _feature_folders(source)
    if len(folders) > 1:
        raise UsageError(
            "several folders of features could be meant",
            where=source,
            found=", ".join(str(folder.relative_to(source)) for folder in folders),
            hint=str(folders[0]),
        )
    files = folders[0].glob("*.h5") if folders else ()
    return require_slides(files_by_slide(files, ".h5"), source, f"{_FOLDER}<encoder>/<slide>.h5")


def _feature_folders(source: Path) -> list[Path]:
    # `slide_features_<encoder>` lies beside it and holds one vector per slide.
    levels = (source.glob(f"{_FOLDER}*"), source.glob(f"*/{_FOLDER}*"))
    return sorted(f for level in levels for f in level if f.is_dir() and any(f.glob("*.h5")))


def read_trident(slide_id: str, path: Path) -> ForeignPatches:
    """Reads one slide.

    Raises:
        StorageError: The file cannot be read, lacks an array, or its patches overlap.
    """
    arrays, attributes = read_datasets(path, ("features", "coords"))
    features = checked_features(arrays["features"], path, "features")
    about = attributes["coords"]
    if about.get("overlap", 0) not in (0, "None", "NA"):
        raise StorageError(
            "the patches overlap, and a region is cut into patches without overlap",
            where=f"{path}: coords.overlap",
            found=about["overlap"],
            wanted=0,
        )
    side = number(about, "patch_size_level0", path)
    patch_px = number(about, "patch_size", path)
    magnification = number(about, "target_magnification", path)
    width, height = (number(about, f"level0_{name}", path) for name in ("width", "height"))
    encoder = attributes["features"].get("encoder")
    return ForeignPatches(
        slide_id=slide_id,
        features=features,
        xy_level0=checked_coordinates(arrays["coords"], len(features), path, "coords"),
        patch_level0=None if side is None else int(side),
        patch_px=None if patch_px is None else int(patch_px),
        spacing_um=None if magnification is None else 10 / magnification,
        size_level0=(int(width), int(height)) if width and height else None,
        encoder=_encoder_name(encoder, path.parent),
        inputs={"features": file_fingerprint(path)},
    )


def _encoder_name(stated: Any, folder: Path) -> str | None:
    if stated not in (None, "None", ""):
        return str(stated)
    return folder.name.removeprefix(_FOLDER) if folder.name.startswith(_FOLDER) else None


def trident_path(folder: Path, slide: SlideFeatures) -> Path:
    """Where TRIDENT would put the features of this slide below a job's folder."""
    magnification = _target_magnification(slide)
    coordinates = f"{magnification:g}x_{slide.patch_px}px_0px_overlap"
    encoder = re.sub(r"[^A-Za-z0-9._-]+", "_", slide.encoder)
    return folder / coordinates / f"{_FOLDER}{encoder}" / f"{slide.slide_id}.h5"


def write_trident(path: Path, slide: SlideFeatures, rows: Rows, stamp: Mapping[str, Any]) -> None:
    """Writes one slide; its coordinates go to `patches/<slide>_patches.h5` as well.

    Args:
        path: From `trident_path`.
        slide: The features.
        rows: Which of them, in float32.
        stamp: Attributes of the file, by which it is known again.
    """
    about = coordinate_attributes(slide)
    coordinates = path.parents[1] / "patches" / f"{slide.slide_id}_patches.h5"
    write_hdf5(coordinates, {"coords": rows.coords}, {"coords": about}, stamp)
    # The features last: they are what says that the slide is done.
    write_hdf5(
        path,
        {"features": rows.features, "coords": rows.coords},
        {"features": {"name": slide.slide_id, "encoder": slide.encoder}, "coords": about},
        stamp,
    )


def coordinate_attributes(slide: SlideFeatures) -> dict[str, Any]:
    """Attributes of `coords` from which TRIDENT's readers take a patch's size at level 0.

    They compute it as patch size · level-0 magnification / target magnification. Level 0's is
    chosen so that this is the slide's own patch size, whatever its spacing rounds to.
    """
    target = _target_magnification(slide)
    level0 = target * slide.patch_level0 / slide.patch_px
    return {
        "patch_size": slide.patch_px,
        "patch_size_level0": round(slide.patch_level0),
        "level0_magnification": int(level0) if float(level0).is_integer() else level0,
        "target_magnification": target,
        "overlap": 0,
        "name": slide.slide_id,
        "level0_width": slide.size_level0[0],
        "level0_height": slide.size_level0[1],
    }


def _target_magnification(slide: SlideFeatures) -> float | int:
    magnification = 10 / slide.spacing_um_target
    return (
        round(magnification) if np.isclose(magnification, round(magnification)) else magnification
    )
