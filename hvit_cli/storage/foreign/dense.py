"""Every region with every patch in one array, for programs that want the grid itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hvit_cli.storage.features import SlideFeatures
from hvit_cli.storage.foreign.selection import Rows, write_hdf5


def dense_path(folder: Path, slide: SlideFeatures) -> Path:
    """The dense file of a slide."""
    return folder / f"{slide.slide_id}.h5"


def write_dense(path: Path, slide: SlideFeatures, rows: Rows, stamp: Mapping[str, Any]) -> None:
    """Writes one slide of M regions with K patches each.

    Arrays: `features` (M, K, D) float32, 0 where nothing is handed on; `visible` (M, K) uint8,
    1 where something is; `tissue_fraction` (M, K) float32; `region_xy_level0` (M, 2).
    """
    shape = (slide.n_regions, slide.patches_per_region)
    features = np.zeros((*shape, slide.features.shape[1]), np.float32)
    visible = np.zeros(shape, np.uint8)
    fraction = np.zeros(shape, np.float32)
    slots = slide.region_index[rows.kept], slide.patch_index[rows.kept]
    features[slots] = rows.features
    visible[slots] = 1
    fraction[slide.region_index, slide.patch_index] = slide.tissue_fraction
    write_hdf5(
        path,
        {
            "features": features,
            "visible": visible,
            "tissue_fraction": fraction,
            "region_xy_level0": slide.region_xy_level0,
        },
        {},
        {
            "slide_id": slide.slide_id,
            "encoder": slide.encoder,
            "region_level0": slide.region_level0,
            "patch_level0": slide.patch_level0,
            **stamp,
        },
    )
