"""What a feature file says about itself, without reading its arrays.

A cohort of ten thousand files is checked by its headers before the first array is read.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import h5py

from hvit_cli.errors import DamagedFileError, StorageError
from hvit_cli.settings import MaskLevel
from hvit_cli.storage.features import KIND, SCHEMA
from hvit_cli.storage.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class FeatureHeader:
    """The attributes of a feature file that decide what it can be used for.

    Attributes are named as in `SlideFeatures`; `width` is D, `n_regions` M, `n_patches` P.
    """

    slide_id: str
    encoder: str
    encoder_hash: str
    normalisation: str
    precision: str
    width: int
    region_px: int
    patch_px: int
    spacing_um_target: float
    background_below: float
    patches: str
    n_regions: int
    n_patches: int
    recipe: Recipe
    mask_level: MaskLevel = "region"


def read_feature_header(path: Path) -> FeatureHeader:
    """Reads the attributes of a feature file.

    Raises:
        StorageError: There is no such file.
        DamagedFileError: The file is not a complete feature file of this version.
    """
    if not path.is_file():
        raise StorageError("no such file", where=path)
    try:
        with h5py.File(path, "r") as file:
            attributes = file.attrs
            found = (attributes.get("kind"), attributes.get("schema"))
            if found != (KIND, SCHEMA):
                raise DamagedFileError(
                    "not a feature file of this version",
                    where=path,
                    found=f"{found[0]} version {found[1]}",
                    wanted=f"{KIND} version {SCHEMA}",
                )
            if not attributes.get("complete", False):
                raise DamagedFileError("the file was never finished", where=path)
            return FeatureHeader(
                slide_id=str(attributes["slide_id"]),
                encoder=str(attributes["encoder"]),
                encoder_hash=str(attributes["encoder_hash"]),
                normalisation=str(attributes["normalisation"]),
                precision=str(attributes["precision"]),
                width=int(file["features"].shape[1]),
                region_px=int(attributes["region_px"]),
                patch_px=int(attributes["patch_px"]),
                spacing_um_target=float(attributes["spacing_um_target"]),
                background_below=float(attributes["background_below"]),
                patches=str(attributes["patches"]),
                n_regions=int(attributes["n_regions"]),
                n_patches=int(attributes["n_patches"]),
                recipe=json.loads(attributes["recipe"]),
                mask_level=attributes.get("mask_level", "region"),
            )
    except (OSError, KeyError, ValueError, RuntimeError, TypeError, IndexError) as error:
        # h5py reports damaged files with any of these.
        raise DamagedFileError(
            "this feature file cannot be read",
            where=path,
            found=str(error) or type(error).__name__,
        ) from error
