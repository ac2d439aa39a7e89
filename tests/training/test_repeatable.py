from __future__ import annotations

import pytest
import torch

from hvit_cli.models.aggregator import Aggregator
from hvit_cli.models.bags import PatchBag
from hvit_cli.settings import AggregatorSettings, TrainingSettings
from hvit_cli.training.fit import Training, fit
from hvit_cli.training.folds import Fold
from hvit_cli.training.repeatable import repeatable

SIZES = AggregatorSettings(
    patch_dim=96, region_dim=96, region_depth=2, region_heads=3, slide_dim=96, slide_heads=3
)


@pytest.fixture
def two_threads() -> object:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def trained_once() -> dict[str, torch.Tensor]:
    drawn = torch.Generator().manual_seed(0)

    def bag(slide_id: str) -> PatchBag:
        rows = torch.arange(6 * 64)[
            torch.rand(6 * 64, generator=drawn.manual_seed(int(slide_id))) < 0.6
        ]
        return PatchBag(
            features=torch.randn(len(rows), 96, generator=drawn),
            region_index=rows // 64,
            patch_index=rows % 64,
            regions=6,
        )

    fold = Fold(
        train={str(i): i % 6 for i in range(24)},
        tune={str(100 + i): i for i in range(6)},
        origin="made up",
    )
    torch.manual_seed(3)
    training = Training(
        Aggregator(SIZES), fold, bag, TrainingSettings(epochs=1, batch_slides=8, seed=1)
    )
    list(fit(training))
    return training.aggregator.state_dict()


def test_two_threads_give_the_same_weights_to_the_last_bit(two_threads: object) -> None:
    first, *others = (trained_once() for _ in range(3))
    for other in others:
        assert all(torch.equal(first[name], other[name]) for name in first)


def test_the_switch_is_put_back() -> None:
    before = torch.are_deterministic_algorithms_enabled()
    with pytest.raises(ZeroDivisionError), repeatable(torch.device("cpu")):
        assert torch.are_deterministic_algorithms_enabled()
        raise ZeroDivisionError
    assert torch.are_deterministic_algorithms_enabled() is before
