"""Feature files of regions of 8×8 patches, drawn at random, for tests of the region level."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from hvit_cli.storage.features import SlideFeatures, write_features

WIDTH, SIDE, PATCH_PX = 6, 8, 256


def slide_of(
    slide_id: str, tissue: npt.NDArray[np.bool_], seed: int = 0, **changed: object
) -> SlideFeatures:
    """A slide with the given tissue (M, 8, 8); features of background are NaN.

    A patch's first two features are its row and column, the third the slide's number.
    """
    regions = len(tissue)
    rng = np.random.default_rng(seed)
    region_index, patch_index = np.divmod(np.arange(regions * SIDE**2), SIDE**2)
    row, column = np.divmod(patch_index, SIDE)
    seen = tissue.reshape(-1)
    features = rng.standard_normal((len(row), WIDTH)).astype(np.float16)
    features[:, 0], features[:, 1], features[:, 2] = row, column, seed
    features[~seen] = np.nan
    fields: dict[str, object] = {
        "slide_id": slide_id,
        "features": features,
        "coords": np.stack([column, row], 1) * PATCH_PX,
        "region_index": region_index,
        "patch_index": patch_index,
        "tissue_fraction": seen.astype(np.float32),
        "region_xy_level0": np.zeros((regions, 2), np.int64),
        "region_tissue_fraction": tissue.mean((1, 2), dtype=np.float32),
        "patches": "all",
        "patches_per_region": SIDE**2,
        "background_below": 0.0,
        "encoder": "made-up",
        "encoder_hash": "a" * 64,
        "normalisation": "{}",
        "precision": "float32",
        "region_px": SIDE * PATCH_PX,
        "patch_px": PATCH_PX,
        "patch_level0": float(PATCH_PX),
        "size_level0": (9999, 9999),
        "spacing_um_level0": 0.5,
        "spacing_um_target": 0.5,
        "spacing_um": 0.5,
        "tissue_mm2": 1.0,
        "tissue_dropped_mm2": 0.0,
        "recipe": {"settings": {}, "inputs": {"slide": slide_id}},
    }
    return SlideFeatures(**{**fields, **changed})  # type: ignore[arg-type]


def write_slides(folder: Path, slides: int = 3, regions: int = 4, share: float = 0.15) -> None:
    """Slides with about `share` of tissue in every region; their last region has none."""
    for number in range(slides):
        tissue = np.random.default_rng(number).random((regions, SIDE, SIDE)) < share
        tissue[:-1, 0, 0] = True
        tissue[-1] = False
        slide_id = f"slide{number}"
        write_features(folder / f"{slide_id}.h5", slide_of(slide_id, tissue, number))
