"""Which rows of a feature file other programs are given, and in which form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from hvit_cli.settings import Attention
from hvit_cli.storage.atomic import whole_file
from hvit_cli.storage.features import SlideFeatures


@dataclass(frozen=True, kw_only=True)
class Rows:
    """The patches of a slide that are handed on.

    Attributes:
        kept: (P,) bool, the rows of the feature file.
        features: (N, D) float32: other programs feed them to float32 layers as they are.
        coords: (N, 2) int64, top-left corners (x, y) in level-0 pixels.
    """

    kept: npt.NDArray[np.bool_]
    features: npt.NDArray[np.float32]
    coords: npt.NDArray[np.int64]


def rows_for(slide: SlideFeatures, attention: Attention) -> Rows:
    """The rows that a model of this attention would see.

    Raises:
        ModelError: Every patch is wanted, and only patches with tissue were embedded.
    """
    kept = slide.visible(attention)
    return Rows(
        kept=kept,
        features=slide.features[kept].astype(np.float32),
        coords=slide.coords[kept],
    )


def write_hdf5(
    path: Path,
    arrays: Mapping[str, npt.NDArray[Any]],
    attributes: Mapping[str, Mapping[str, Any]],
    stamp: Mapping[str, Any],
) -> None:
    """Writes arrays, each with its attributes, and attributes of the file; whole or not at all."""
    with whole_file(path) as temporary, h5py.File(temporary, "w") as file:
        for name, array in arrays.items():
            dataset = file.create_dataset(name, data=array, track_times=False)
            for key, value in attributes.get(name, {}).items():
                dataset.attrs[key] = value
        for key, value in stamp.items():
            file.attrs[key] = value
