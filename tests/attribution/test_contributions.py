"""What is left out, and that leaving out equals scoring the rest from the beginning."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import torch

from hvit_cli.attribution.contributions import contributions, single_patch
from hvit_cli.models.aggregator import Aggregator
from hvit_cli.models.bags import PatchBag
from hvit_cli.settings import Attention, TaskSettings, Unit
from hvit_cli.storage.features import SlideFeatures

TASK = TaskSettings()
MakeAggregator = Callable[..., Aggregator]
MakeFeatures = Callable[..., SlideFeatures]


@torch.no_grad()
def naive_score(
    aggregators: list[Aggregator],
    features: SlideFeatures,
    kept: npt.NDArray[np.bool_],
    regions: list[int] | None = None,
) -> float:
    """The mean score of a slide with these rows and these regions, from the beginning."""
    regions = list(range(features.n_regions)) if regions is None else regions
    kept = kept & np.isin(features.region_index, regions)
    new = {old: i for i, old in enumerate(regions)}
    bag = PatchBag(
        features=torch.from_numpy(features.features[kept].astype(np.float64)),
        region_index=torch.tensor(
            [new[m] for m in features.region_index[kept].tolist()], dtype=torch.long
        ),
        patch_index=torch.from_numpy(features.patch_index[kept]),
        regions=len(regions),
    )
    return float(np.mean([float(one([bag]).score) for one in aggregators]))


@pytest.mark.parametrize("attention", ["masked", "plain"])
def test_leaving_out_a_patch_equals_scoring_the_rest(
    make_aggregator: MakeAggregator, make_features: MakeFeatures, attention: Attention
) -> None:
    aggregators, features = [make_aggregator(1), make_aggregator(2)], make_features()
    found = contributions(aggregators, features, attention, TASK)
    visible = features.visible(attention)
    whole = naive_score(aggregators, features, visible)
    for row in np.flatnonzero(visible):
        kept = visible.copy()
        kept[row] = False
        change = whole - naive_score(aggregators, features, kept)
        assert found.value[row] == pytest.approx(change, abs=1e-9)
    assert np.abs(found.value[visible]).max() > 1e-3
    assert found.signed
    assert found.within == "slide"
    np.testing.assert_array_equal(found.visible, visible)


@pytest.mark.parametrize("attention", ["masked", "plain"])
def test_a_block_is_the_patch_and_what_touches_it_in_any_region(
    make_aggregator: MakeAggregator, make_features: MakeFeatures, attention: Attention
) -> None:
    aggregators, features = [make_aggregator(3)], make_features()
    found = contributions(aggregators, features, attention, TASK, unit="block")
    visible = features.visible(attention)
    whole = naive_score(aggregators, features, visible)
    # Column of each patch over the three regions in a row; the others are far away.
    column = features.patch_index % 3 + 3 * np.minimum(features.region_index, 2)
    place = np.stack([column, features.patch_index // 3], axis=1)
    place[features.region_index == 3] += 100
    place[features.region_index == 4] += 200
    sizes = []
    for row in np.flatnonzero(visible):
        near = np.abs(place - place[row]).max(axis=1) <= 1
        sizes.append(int((near & visible).sum()))
        change = whole - naive_score(aggregators, features, visible & ~near)
        assert found.value[row] == pytest.approx(change, abs=1e-9)
    assert max(sizes) == 9


@pytest.mark.parametrize("attention", ["masked", "plain"])
def test_a_region_leaves_the_slide_transformer(
    make_aggregator: MakeAggregator, make_features: MakeFeatures, attention: Attention
) -> None:
    aggregators, features = [make_aggregator(4), make_aggregator(5)], make_features()
    found = contributions(aggregators, features, attention, TASK, unit="region")
    visible = features.visible(attention)
    whole = naive_score(aggregators, features, visible)
    for m in range(5):
        here = visible & (features.region_index == m)
        rest = [other for other in range(5) if other != m]
        change = whole - naive_score(aggregators, features, visible, rest)
        np.testing.assert_allclose(found.value[here], change, atol=1e-9)


def test_a_piece_of_tissue_takes_its_regions_along(
    make_aggregator: MakeAggregator, make_features: MakeFeatures
) -> None:
    aggregators, features = [make_aggregator(6)], make_features()
    masked = contributions(aggregators, features, "masked", TASK, unit="component")
    tissue = features.tissue_fraction > 0
    whole = naive_score(aggregators, features, tissue)
    at = features.region_index * 9 + features.patch_index
    # By eye: the patches of region 0 touch each other and regions 1's left column, all but one.
    large = np.isin(at, [2, 4, 5, 9, 12, 15])
    corner, lonely, core = at == 17, at == 26, (features.region_index == 3)
    for piece, gone in ((large, [0]), (corner, []), (lonely, [2]), (core, [3])):
        rest = [m for m in range(5) if m not in gone]
        change = whole - naive_score(aggregators, features, tissue & ~piece, rest)
        np.testing.assert_allclose(masked.value[piece], change, atol=1e-9)

    plain = contributions(aggregators, features, "plain", TASK, unit="component")
    everything = np.ones(45, bool)
    whole = naive_score(aggregators, features, everything)
    np.testing.assert_allclose(
        plain.value[large],
        whole - naive_score(aggregators, features, ~large, [1, 2, 3, 4]),
        atol=1e-9,
    )
    # All glass together: what masking changes.
    np.testing.assert_allclose(
        plain.value[~tissue], whole - naive_score(aggregators, features, tissue), atol=1e-9
    )


def test_the_only_region_stays_and_is_read_from_cls_alone(
    make_aggregator: MakeAggregator, make_features: MakeFeatures
) -> None:
    aggregators, features = [make_aggregator(7)], make_features()
    here = features.region_index == 3
    alone = dataclasses.replace(
        features,
        **{
            name: getattr(features, name)[here]
            for name in ("features", "coords", "patch_index", "tissue_fraction")
        },
        region_index=np.zeros(9, np.int64),
        region_xy_level0=features.region_xy_level0[3:4],
        region_tissue_fraction=features.region_tissue_fraction[3:4],
    )
    change = naive_score(aggregators, alone, np.ones(9, bool)) - naive_score(
        aggregators, alone, np.zeros(9, bool)
    )
    for unit in ("region", "component"):
        found = contributions(aggregators, alone, "masked", TASK, unit=unit)
        np.testing.assert_allclose(found.value, change, atol=1e-9)


@pytest.mark.parametrize("attention", ["masked", "plain"])
def test_a_single_patch_is_a_slide_of_one_region_with_one_patch(
    make_aggregator: MakeAggregator, make_features: MakeFeatures, attention: Attention
) -> None:
    aggregators, features = [make_aggregator(8), make_aggregator(9)], make_features()
    found = single_patch(aggregators, features, attention, TASK)
    for row in np.flatnonzero(features.visible(attention)):
        only = np.arange(45) == row
        wanted = naive_score(aggregators, features, only, [int(features.region_index[row])])
        assert found.value[row] == pytest.approx(wanted, abs=1e-9)
    assert not found.signed


@pytest.mark.parametrize("unit", ["patch", "block", "region", "component"])
def test_masked_contributions_do_not_know_the_glass(
    make_aggregator: MakeAggregator, make_features: MakeFeatures, unit: Unit
) -> None:
    aggregators = [make_aggregator(1)]
    clean, dirty = (
        contributions(aggregators, make_features(0, background), "masked", TASK, unit=unit)
        for background in (0.0, float("nan"))
    )
    np.testing.assert_array_equal(clean.value, dirty.value)
    assert (clean.value[~clean.visible] == 0).all()


def test_contributions_to_an_expected_class_are_grade_points(
    make_aggregator: MakeAggregator, make_features: MakeFeatures
) -> None:
    task = TaskSettings(objective="classification")
    aggregator, features = make_aggregator(1, outputs=6), make_features()
    found = contributions([aggregator], features, "masked", task)
    visible = features.visible("masked")

    def expected(kept: npt.NDArray[np.bool_]) -> float:
        bag = PatchBag(
            features=torch.from_numpy(features.features[kept].astype(np.float64)),
            region_index=torch.from_numpy(features.region_index[kept]),
            patch_index=torch.from_numpy(features.patch_index[kept]),
            regions=5,
        )
        with torch.no_grad():
            logits = aggregator([bag]).score[0].numpy()
        share = np.exp(logits) / np.exp(logits).sum()
        return float(share @ np.arange(6))

    row = int(np.flatnonzero(visible)[4])
    without = visible & (np.arange(45) != row)
    assert found.value[row] == pytest.approx(expected(visible) - expected(without), abs=1e-9)
