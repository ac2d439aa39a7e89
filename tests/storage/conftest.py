"""A small tile file and a small feature file, made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from hvit_cli.slides.grid import Regions
from hvit_cli.storage.features import SlideFeatures
from hvit_cli.storage.tiles import TileFile


@pytest.fixture
def tiles() -> TileFile:
    counts = np.arange(8, dtype=np.int64).reshape(2, 4)
    return TileFile(
        slide_id="s",
        regions=Regions(
            origin_level0=np.array([[0.0, 0.0], [1024.5, 0.0]]),
            patch_level0=512.25,
            region_px=512,
            patch_px=256,
            tissue_count=counts,
            pixel_count=np.full((2, 4), 16, np.int64),
        ),
        size_level0=(4000, 2000),
        spacing_um_level0=0.25,
        spacing_um_target=0.5,
        spacing_um=0.5,
        level=0,
        downsample=1.0,
        resampled=True,
        background_below=0.0,
        tissue_mm2=1.5,
        tissue_dropped_mm2=0.25,
        recipe={"settings": {"tile": 1}, "inputs": {"slide": "x"}},
    )


@pytest.fixture
def features() -> SlideFeatures:
    rng = np.random.default_rng(0)
    return SlideFeatures(
        slide_id="s",
        features=rng.standard_normal((3, 5)).astype(np.float16),
        coords=np.array([[0, 0], [256, 0], [600, 300]], np.int64),
        region_index=np.array([0, 0, 2], np.int64),
        patch_index=np.array([0, 1, 3], np.int64),
        tissue_fraction=np.array([0.5, 0.0, 1.0], np.float32),
        region_xy_level0=np.array([[0, 0], [512, 0], [1024, 0]], np.int64),
        region_tissue_fraction=np.array([0.2, 0.1, 0.3], np.float32),
        patches="all",
        patches_per_region=4,
        background_below=0.0,
        encoder="vit",
        encoder_hash="abc",
        normalisation="{}",
        precision="float32",
        region_px=512,
        patch_px=256,
        patch_level0=256.0,
        size_level0=(4000, 2000),
        spacing_um_level0=0.5,
        spacing_um_target=0.5,
        spacing_um=0.5,
        tissue_mm2=1.0,
        tissue_dropped_mm2=0.0,
        recipe={"settings": {}, "inputs": {}},
    )
