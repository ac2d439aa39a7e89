from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import spearmanr  # type: ignore[import-untyped]

from hvit_cli.attribution.contributions import single_patch
from hvit_cli.heatmaps.maps import PatchMap
from hvit_cli.measures.stability import agreement, rank_correlation
from hvit_cli.models.aggregator import Aggregator
from hvit_cli.settings import TaskSettings
from hvit_cli.storage.features import SlideFeatures


@pytest.fixture
def patch_map(
    make_aggregator: Callable[..., Aggregator], make_features: Callable[..., SlideFeatures]
) -> PatchMap:
    return single_patch([make_aggregator()], make_features(), "masked", TaskSettings())


@pytest.mark.parametrize("seed", range(4))
def test_the_correlation_is_spearmans_with_ties(seed: int) -> None:
    a, b = np.random.default_rng(seed).integers(0, 6, (2, 40)).astype(float)
    assert rank_correlation(a, b) == pytest.approx(spearmanr(a, b).statistic)


def test_a_map_agrees_with_itself_and_not_with_its_opposite(patch_map: PatchMap) -> None:
    opposite = dataclasses.replace(patch_map, value=-patch_map.value)
    assert agreement(patch_map, patch_map, hide_glass=False) == pytest.approx(1)
    assert agreement(patch_map, opposite, hide_glass=False) == pytest.approx(-1)


def test_on_a_shifted_grid_only_cells_that_both_show_count(patch_map: PatchMap) -> None:
    half = round(patch_map.patch_level0 / 2)
    shifted = dataclasses.replace(
        patch_map,
        patch_xy_level0=patch_map.patch_xy_level0 + half,
        region_xy_level0=patch_map.region_xy_level0 + half,
    )
    found = agreement(patch_map, shifted, hide_glass=False)
    assert found is not None
    assert -1 < found < 1
    away = dataclasses.replace(
        patch_map,
        patch_xy_level0=patch_map.patch_xy_level0 + 100_000,
        region_xy_level0=patch_map.region_xy_level0 + 100_000,
    )
    assert agreement(patch_map, away, hide_glass=False) is None


def test_it_is_undefined_where_a_map_is_constant() -> None:
    assert rank_correlation(np.ones(5), np.arange(5.0)) is None
    assert rank_correlation(np.arange(2.0), np.arange(2.0)) is None
