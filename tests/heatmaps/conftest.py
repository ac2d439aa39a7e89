"""Small maps on made-up slides."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from hvit_cli.heatmaps.maps import PatchMap

Maker = Callable[..., PatchMap]


@pytest.fixture(scope="session")
def make_map() -> Maker:
    """A raw map: regions of side × side patches, tissue drawn at random, softmax attention."""

    def make(
        corners: list[tuple[int, int]] | None = None,
        *,
        side: int = 4,
        patch_level0: float = 100.0,
        attention: str = "masked",
        tissue_share: float = 0.6,
        seed: int = 0,
        kept: float = 0.3,
    ) -> PatchMap:
        random = np.random.default_rng(seed)
        corner = np.array([(0, 0)] if corners is None else corners, np.int64)
        region = np.repeat(np.arange(len(corner)), side**2)
        patch = np.tile(np.arange(side**2), len(corner))
        row, column = np.divmod(patch, side)
        xy = corner[region] + np.floor(np.stack([column, row], axis=1) * patch_level0 + 0.5).astype(
            np.int64
        )
        tissue = random.random(len(patch)) < tissue_share
        visible = tissue if attention == "masked" else np.ones(len(patch), bool)
        value = np.exp(random.standard_normal(len(patch))) * visible
        for m in range(len(corner)):
            here = region == m
            if value[here].any():
                value[here] *= (1 - kept) / value[here].sum()
        return PatchMap(
            slide_id="slide",
            attention=attention,  # type: ignore[arg-type]
            within="region",
            region_xy_level0=corner,
            region_level0=side * patch_level0,
            patch_level0=patch_level0,
            patch_xy_level0=xy,
            region_index=region,
            patch_index=patch,
            tissue_fraction=np.where(tissue, 0.5, 0).astype(np.float32),
            background_below=0.0,
            visible=visible,
            value=value,
        )

    return make
