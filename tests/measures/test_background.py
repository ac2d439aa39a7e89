from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from hvit_cli.attribution.maps import region_attention
from hvit_cli.measures.background import background_mass
from hvit_cli.measures.comparable import MapValues, values_of
from hvit_cli.models.aggregator import Aggregator
from hvit_cli.storage.features import SlideFeatures

EVERY = np.ones(4, bool)
GLASS = np.array([1, 0, 0, 0], bool)


@pytest.mark.parametrize(
    ("value", "mass"), [([1, 1, 1, 1], 1.0), ([0, 1, 2, 3], 0.0), ([-2, 1, 1, 0], 0.5 / 0.25)]
)
def test_the_share_on_glass_is_compared_with_the_share_of_glass(
    value: list[float], mass: float
) -> None:
    values = MapValues(value=np.array(value, float), shown=EVERY, background=GLASS)
    assert background_mass(values) == pytest.approx(mass)


def test_it_is_undefined_without_glass_and_of_scores() -> None:
    value = np.ones(4)
    assert background_mass(MapValues(value=value, shown=EVERY, background=~EVERY)) is None
    alone = MapValues(value=value, shown=EVERY, background=GLASS, shares=False)
    assert background_mass(alone) is None


def test_masked_attention_has_none_and_hidden_glass_has_none(
    make_aggregator: Callable[..., Aggregator], make_features: Callable[..., SlideFeatures]
) -> None:
    aggregator, features = make_aggregator(), make_features()
    masked = region_attention([aggregator], features, "masked")
    plain = region_attention([aggregator], features, "plain")
    assert background_mass(values_of(masked)) == 0
    assert background_mass(values_of(plain, hide_glass=True)) == 0
    assert (background_mass(values_of(plain)) or 0) > 0


def test_hidden_glass_leaves_its_attention_to_the_tissue_of_its_region(
    make_aggregator: Callable[..., Aggregator], make_features: Callable[..., SlideFeatures]
) -> None:
    features = make_features()
    plain = region_attention([make_aggregator()], features, "plain")
    hidden = values_of(plain, hide_glass=True)
    tissue = features.tissue_fraction > 0
    for region in range(4):
        rows = tissue & (features.region_index == region)
        expected = plain.value[rows] / plain.value[rows].sum() * rows.sum()
        np.testing.assert_allclose(hidden.value[rows], expected)
    assert np.isnan(hidden.value[~tissue]).all()
