"""STAMP's tile features: one HDF5 file per slide, coordinates in micrometres.

Datasets `feats` (N, D) and `coords` (N, 2), top-left corners (x, y) in µm. Attributes of the
file: `unit` = um, `tile_size_um`, `tile_size_px`, `feat_type` = tile, `extractor`. STAMP refuses
files of a newer version of itself, so none is claimed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hvit_cli.storage.features import SlideFeatures
from hvit_cli.storage.foreign.selection import Rows, write_hdf5


def stamp_path(folder: Path, slide: SlideFeatures) -> Path:
    """Where STAMP's tables of slides look for a slide: `<slide>.h5` in the feature folder."""
    return folder / f"{slide.slide_id}.h5"


def write_stamp(path: Path, slide: SlideFeatures, rows: Rows, stamp: Mapping[str, Any]) -> None:
    """Writes one slide."""
    um = slide.spacing_um_level0
    write_hdf5(
        path,
        {"feats": rows.features, "coords": (rows.coords * um).astype(np.float32)},
        {},
        {
            "unit": "um",
            "tile_size_um": slide.patch_level0 * um,
            "tile_size_px": slide.patch_px,
            "feat_type": "tile",
            "extractor": slide.encoder,
            **stamp,
        },
    )
