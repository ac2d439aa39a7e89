from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from hvit_cli.models.aggregator import Aggregator
from hvit_cli.models.bags import PatchBag
from hvit_cli.settings import AggregatorSettings, TrainingSettings
from hvit_cli.training.fit import new_aggregator
from hvit_cli.training.gradients import accumulate_gradients, outputs_of

LABELS = [0.0, 5.0, 2.0, 3.0, 1.0]


def bags() -> list[PatchBag]:
    """Five slides of different sizes, one with an empty region."""
    generator = torch.Generator().manual_seed(1)
    made = []
    for regions, rows in [(1, 3), (3, 20), (2, 9), (4, 33), (1, 16)]:
        slots = torch.randperm(16 * regions, generator=generator)[:rows].sort().values
        made.append(
            PatchBag(
                features=torch.randn(rows, 8, generator=generator).half(),
                region_index=slots // 16,
                patch_index=slots % 16,
                regions=regions + (rows == 9),
            )
        )
    return made


def gradients(aggregator: Aggregator) -> dict[str, Tensor]:
    return {n: p.grad.clone() for n, p in aggregator.named_parameters() if p.grad is not None}


@pytest.fixture
def aggregator(tiny: AggregatorSettings) -> Aggregator:
    without_dropout = dataclasses.replace(tiny, dropout=0.0)
    return new_aggregator(without_dropout, TrainingSettings(seed=3), [0]).train()


@pytest.mark.parametrize("budget", [1, 25, 60, 10_000])
def test_accumulated_gradients_are_those_of_the_mean_over_all_slides(
    aggregator: Aggregator, budget: int
) -> None:
    # Independent: each slide through the network alone, losses averaged, one backward.
    scores = torch.stack([aggregator([bag]).score[0, 0] for bag in bags()])
    torch.nn.functional.mse_loss(scores, torch.tensor(LABELS)).backward()
    wanted = gradients(aggregator)
    aggregator.zero_grad()
    squared_errors = (scores.detach() - torch.tensor(LABELS)).square().sum()
    total = accumulate_gradients(aggregator, bags(), LABELS, budget=budget)
    assert total == pytest.approx(squared_errors.item(), rel=1e-5)
    found = gradients(aggregator)
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-5, rtol=1e-4, msg=name)


def test_gradients_reach_the_first_block_of_the_region_transformer(
    aggregator: Aggregator,
) -> None:
    accumulate_gradients(aggregator, bags(), LABELS, budget=100)
    found = gradients(aggregator)
    assert len(found) == len(list(aggregator.parameters()))
    first = [name for name in found if name.startswith("region_transformer.blocks.0.")]
    assert len(first) >= 8
    for name in [*first, "region_transformer.project.weight", "region_transformer.pos_embed"]:
        assert found[name].abs().sum() > 0, name


def test_scores_do_not_depend_on_the_company(aggregator: Aggregator) -> None:
    aggregator.eval()
    together = torch.stack(list(outputs_of(aggregator, bags(), budget=10_000)))
    alone = torch.stack(list(outputs_of(aggregator, bags(), budget=1)))
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_bfloat16_stays_near_float32(aggregator: Aggregator) -> None:
    accumulate_gradients(aggregator, bags(), LABELS, budget=100)
    wanted = gradients(aggregator)
    aggregator.zero_grad()
    accumulate_gradients(aggregator, bags(), LABELS, budget=100, precision="bfloat16")
    flat = [
        torch.cat([g.flatten() for g in part.values()]) for part in (wanted, gradients(aggregator))
    ]
    assert torch.cosine_similarity(*flat, dim=0) > 0.99
