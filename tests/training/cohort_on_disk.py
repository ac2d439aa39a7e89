"""Feature files of made-up slides whose grade stands in their tissue, for tests of training.

A slide has 1-4 regions of 4×4 patches, about half of them background. Features are noise;
tissue patches carry the grade along one axis, and background patches may carry a confounder
along another.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np

from hvit_cli.storage.features import SlideFeatures, write_features

WIDTH, SIDE, PATCH_PX = 8, 4, 256
Signal = Literal["tissue", "background"]


def slide_features(
    slide_id: str,
    grade: int,
    *,
    signal: Signal = "tissue",
    patches: Literal["all", "tissue"] = "all",
    background_scale: float = 1.0,
    seed: int = 0,
    **changed: object,
) -> SlideFeatures:
    """One slide.

    Args:
        slide_id: Its id; with the seed it decides everything random.
        grade: 0-5.
        signal: Where the grade stands.
        patches: Which patches have rows.
        background_scale: Factor on the features of background patches.
        seed: Seed of the cohort.
        changed: Fields of `SlideFeatures` to replace.
    """
    rng = np.random.default_rng([seed, *slide_id.encode()])
    regions = int(rng.integers(1, 5))
    fraction = rng.uniform(0.05, 1, (regions, SIDE**2)).astype(np.float32)
    fraction[rng.random(fraction.shape) < 0.5] = 0
    fraction[0, 0] = 1
    tissue = fraction > 0
    features = rng.standard_normal((regions, SIDE**2, WIDTH)) * 0.3
    if signal == "tissue":
        features[..., 0] += np.where(tissue, grade / 2.5 - 1, 0)
    else:
        features[..., 1] += np.where(tissue, 0, grade / 2.5 - 1)
    features[~tissue] *= background_scale
    kept = tissue if patches == "tissue" else np.ones_like(tissue)
    region_index, patch_index = np.nonzero(kept)
    region_xy = np.stack([np.arange(regions) * SIDE * PATCH_PX, np.zeros(regions)], 1)
    within = np.stack([patch_index % SIDE, patch_index // SIDE], 1) * PATCH_PX
    fields: dict[str, object] = {
        "slide_id": slide_id,
        "features": features[kept].astype(np.float16),
        "coords": (region_xy[region_index] + within).astype(np.int64),
        "region_index": region_index.astype(np.int64),
        "patch_index": patch_index.astype(np.int64),
        "tissue_fraction": fraction[kept],
        "region_xy_level0": region_xy.astype(np.int64),
        "region_tissue_fraction": fraction.mean(1),
        "patches": patches,
        "patches_per_region": SIDE**2,
        "background_below": 0.0,
        "encoder": "made-up",
        "encoder_hash": "0" * 64,
        "normalisation": '{"mean":[0,0,0],"std":[1,1,1]}',
        "precision": "float32",
        "region_px": SIDE * PATCH_PX,
        "patch_px": PATCH_PX,
        "patch_level0": float(PATCH_PX),
        "size_level0": (regions * SIDE * PATCH_PX, SIDE * PATCH_PX),
        "spacing_um_level0": 0.5,
        "spacing_um_target": 0.5,
        "spacing_um": 0.5,
        "tissue_mm2": 1.0,
        "tissue_dropped_mm2": 0.0,
        "recipe": {"settings": {}, "inputs": {"slide": slide_id}},
    }
    return SlideFeatures(**{**fields, **changed})  # type: ignore[arg-type]


def write_cohort(
    folder: Path, slides: int, make: Callable[[str, int], SlideFeatures] = slide_features
) -> dict[str, int]:
    """Writes feature files of `slides` slides and returns their grades, 0-5 in turn."""
    labels = {f"slide{i:03d}": i % 6 for i in range(slides)}
    for slide_id, grade in labels.items():
        write_features(folder / f"{slide_id}.h5", make(slide_id, grade))
    return labels
