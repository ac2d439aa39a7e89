"""A tiny model, and a made-up slide whose regions differ in everything that matters."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from hvit_cli.models.aggregator import Aggregator
from hvit_cli.settings import AggregatorSettings
from hvit_cli.storage.features import SlideFeatures

SIDE = 3
PATCH_LEVEL0 = 100.4


def _aggregator(
    seed: int = 0, outputs: int = 1, registers: int = 2, scale: float = 3
) -> Aggregator:
    torch.manual_seed(seed)
    aggregator = Aggregator(
        AggregatorSettings(
            patch_dim=10,
            region_px=SIDE * 256,
            region_dim=12,
            region_depth=3,
            region_heads=3,
            registers=registers,
            slide_dim=12,
            slide_depth=2,
            slide_heads=3,
            outputs=outputs,
        )
    )
    with torch.no_grad():
        # As drawn, the networks hardly attend; scaled up, every formula shows its mistakes.
        for parameter in aggregator.parameters():
            parameter.mul_(scale)
    return aggregator.double().eval()


def _features(seed: int = 0, background: float | None = None) -> SlideFeatures:
    """Every patch of five regions: three in a row, one apart and offset, one without tissue.

    Args:
        seed: Of the features.
        background: What stands at patches without tissue; None draws it.
    """
    random = np.random.default_rng(seed)
    side_level0 = SIDE * PATCH_LEVEL0
    corner = np.rint(
        [(0, 0), (side_level0, 0), (2 * side_level0, 0), (50, 5000), (9000, 9000)]
    ).astype(np.int64)
    row, column = np.divmod(np.arange(SIDE**2), SIDE)
    xy = corner[:, None] + np.rint(np.stack([column, row], 1) * PATCH_LEVEL0).astype(np.int64)
    fraction = np.zeros((5, SIDE**2), np.float32)
    fraction[0] = [0, 0, 0.3, 0, 0.9, 0.8, 0, 0, 0]
    fraction[1] = [0.5, 0, 0, 0.7, 0, 0, 0.2, 0, 1]
    fraction[2] = [0, 0, 0, 0, 0, 0, 0, 0, 0.4]
    fraction[3] = 1
    drawn = random.standard_normal((5 * SIDE**2, 10)).astype(np.float16)
    if background is not None:
        drawn[fraction.ravel() == 0] = background
    return SlideFeatures(
        slide_id="slide",
        features=drawn,
        coords=xy.reshape(-1, 2),
        region_index=np.repeat(np.arange(5), SIDE**2),
        patch_index=np.tile(np.arange(SIDE**2), 5),
        tissue_fraction=fraction.ravel(),
        region_xy_level0=corner,
        region_tissue_fraction=fraction.mean(axis=1),
        patches="all",
        patches_per_region=SIDE**2,
        background_below=0.0,
        encoder="none",
        encoder_hash="",
        normalisation="",
        precision="float32",
        region_px=SIDE * 256,
        patch_px=256,
        patch_level0=PATCH_LEVEL0,
        size_level0=(10000, 10000),
        spacing_um_level0=0.5,
        spacing_um_target=0.5,
        spacing_um=0.5,
        tissue_mm2=1.0,
        tissue_dropped_mm2=0.0,
        recipe={"settings": {}, "inputs": {}},
    )


@pytest.fixture(scope="session")
def make_aggregator() -> Callable[..., Aggregator]:
    """A network with weights large enough to attend, in float64."""
    return _aggregator


@pytest.fixture(scope="session")
def make_features() -> Callable[..., SlideFeatures]:
    """The made-up slide."""
    return _features
