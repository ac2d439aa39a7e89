from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from hvit_cli.attribution.contributions import contributions
from hvit_cli.attribution.maps import region_attention
from hvit_cli.measures.comparable import MapValues, values_of
from hvit_cli.measures.faithfulness import Flipper
from hvit_cli.models.aggregator import Aggregator
from hvit_cli.models.bags import PatchBag
from hvit_cli.settings import Attention, TaskSettings
from hvit_cli.storage.features import SlideFeatures

TASK = TaskSettings()


@torch.no_grad()
def score_of_rows(aggregator: Aggregator, features: SlideFeatures, rows: np.ndarray) -> float:
    rows = np.sort(rows)
    bag = PatchBag(
        features=torch.from_numpy(features.features[rows].astype(np.float64)),
        region_index=torch.from_numpy(features.region_index[rows]),
        patch_index=torch.from_numpy(features.patch_index[rows]),
        regions=features.n_regions,
    )
    return float(aggregator([bag]).score)


@pytest.mark.parametrize("attention", ["masked", "plain"])
def test_each_step_is_the_score_of_what_is_left(
    make_aggregator: Callable[..., Aggregator],
    make_features: Callable[..., SlideFeatures],
    attention: Attention,
) -> None:
    aggregator, features = make_aggregator(1), make_features()
    shown = features.visible(attention)
    value = np.where(shown, np.random.default_rng(2).random(len(shown)), np.nan)
    values = MapValues(value=value, shown=shown, background=features.tissue_fraction <= 0)
    flipper = Flipper([aggregator], features, attention, TASK)
    found = flipper.flip(values, 4, np.random.default_rng(0))
    assert found is not None
    rising = np.flatnonzero(shown)[np.argsort(value[shown])]
    for k, share in enumerate((0, 0.25, 0.5, 0.75, 1)):
        hidden = int(np.rint(share * len(rising)))
        low = score_of_rows(aggregator, features, rising[hidden:])
        high = score_of_rows(aggregator, features, rising[: len(rising) - hidden])
        assert found.lowest_first[k] == pytest.approx(low, abs=1e-9)
        assert found.highest_first[k] == pytest.approx(high, abs=1e-9)
    steps = found.lowest_first - found.highest_first
    area = sum((steps[i] + steps[i + 1]) / 2 * 0.25 for i in range(4))
    assert found.gain == pytest.approx(area)


def test_the_opposite_map_gains_as_much_as_the_map_loses(
    make_aggregator: Callable[..., Aggregator], make_features: Callable[..., SlideFeatures]
) -> None:
    aggregator, features = make_aggregator(4), make_features()
    flipper = Flipper([aggregator], features, "plain", TASK)
    values = values_of(contributions([aggregator], features, "plain", TASK))
    opposite = MapValues(value=-values.value, shown=values.shown, background=values.background)
    gains = [
        found.gain
        for one in (values, opposite)
        if (found := flipper.flip(one, 5, np.random.default_rng(0))) is not None
    ]
    assert gains[0] == pytest.approx(-gains[1])
    assert abs(gains[0]) > 1e-6


def test_what_a_map_hides_is_never_flipped(
    make_aggregator: Callable[..., Aggregator], make_features: Callable[..., SlideFeatures]
) -> None:
    aggregator, features = make_aggregator(5), make_features()
    values = values_of(region_attention([aggregator], features, "plain"), hide_glass=True)
    found = Flipper([aggregator], features, "plain", TASK).flip(values, 2, np.random.default_rng(0))
    assert found is not None
    glass = np.flatnonzero(features.tissue_fraction == 0)
    assert found.highest_first[-1] == pytest.approx(score_of_rows(aggregator, features, glass))
