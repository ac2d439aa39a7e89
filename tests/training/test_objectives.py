from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from hvit_cli.errors import SettingsError
from hvit_cli.models.slide import RankLinear
from hvit_cli.settings import AggregatorSettings, TaskSettings, TrainingSettings
from hvit_cli.training.fit import new_aggregator
from hvit_cli.training.metrics import auroc
from hvit_cli.training.objectives import loss_sum, mean_outputs, score_of

REGRESSION = TaskSettings()
CLASSES = TaskSettings(objective="classification")
RANKS = TaskSettings(objective="ordinal")


def test_the_outputs_and_the_last_layer_follow_from_the_objective() -> None:
    assert [t.outputs for t in (REGRESSION, CLASSES, RANKS)] == [1, 6, 5]
    assert [t.head for t in (REGRESSION, CLASSES, RANKS)] == ["linear", "linear", "ranks"]
    assert TaskSettings(task="ordinal", grades=4, objective="ordinal").outputs == 3
    with pytest.raises(SettingsError, match="the task isup has 6 classes"):
        TaskSettings(grades=4)
    with pytest.raises(SettingsError, match="binary has 2 classes"):
        TaskSettings(task="binary", grades=6)


def test_losses_by_hand() -> None:
    label = torch.tensor([2.0, 0.0])
    assert loss_sum(torch.tensor([[1.5], [1.0]]), label, REGRESSION).item() == pytest.approx(1.25)
    outputs = torch.tensor([[0.0, 1.0, 2.0, 0.0, 0.0, 0.0], [0.0] * 6])
    total = math.log(math.e + math.e**2 + 4) - 2 + math.log(6)
    assert loss_sum(outputs, label, CLASSES).item() == pytest.approx(total, rel=1e-6)
    ranks = torch.tensor([[1.0, 0.5, -1.0, -2.0, -3.0]])

    def sigmoid(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    # Label 2 is above 0 and above 1, and no higher.
    by_hand = (
        -math.log(sigmoid(1.0))
        - math.log(sigmoid(0.5))
        - sum(math.log(1 - sigmoid(x)) for x in (-1.0, -2.0, -3.0))
    )
    assert loss_sum(ranks, label[:1], RANKS).item() == pytest.approx(by_hand, rel=1e-6)


def test_a_score_is_the_expected_class() -> None:
    assert score_of(torch.tensor([[3.7], [-1.0]]), REGRESSION).tolist() == pytest.approx([3.7, -1])
    share = torch.tensor([[0.1, 0.2, 0.3, 0.4, 1e-9, 1e-9]])
    assert score_of(share.log(), CLASSES).item() == pytest.approx(0.2 + 0.6 + 1.2, abs=1e-6)
    above = torch.tensor([[0.9, 0.7, 0.2, 0.1, 0.05]])
    assert score_of(above.logit(), RANKS).item() == pytest.approx(1.95, abs=1e-6)


@pytest.mark.parametrize("task", [REGRESSION, CLASSES, RANKS], ids=lambda t: t.objective)
def test_a_network_that_knows_only_the_shares_scores_the_mean(task: TaskSettings) -> None:
    labels = [0, 0, 1, 2, 3, 3, 4, 5]
    outputs = mean_outputs(labels, task)
    assert score_of(outputs[None], task).item() == pytest.approx(np.mean(labels), abs=1e-3)
    sizes = AggregatorSettings(
        region_dim=8, region_depth=1, region_heads=2, slide_dim=8, slide_depth=1, slide_heads=2,
        outputs=task.outputs, head=task.head,
    )  # fmt: skip
    made = new_aggregator(sizes, TrainingSettings(mean_label_bias=True), labels, task)
    torch.testing.assert_close(made.slide_transformer.classifier.bias.detach(), outputs)


def test_ranks_share_their_weights_and_never_cross() -> None:
    head = RankLinear(3, 4)
    with torch.no_grad():
        head.bias.copy_(torch.tensor([2.0, 1.0, 0.0, -1.0]))
    out = head(torch.randn(50, 3, generator=torch.Generator().manual_seed(1)))
    assert head.weight.shape == (1, 3)
    assert (out.diff(dim=1) < 0).all()


def test_auroc_is_the_share_of_pairs_in_order() -> None:
    rng = np.random.default_rng(0)
    label, score = rng.integers(0, 2, 40), rng.integers(0, 10, 40) / 10
    pairs = [
        1.0 if p > n else 0.5 if p == n else 0.0
        for p in score[label == 1]
        for n in score[label == 0]
    ]
    assert auroc(label, score) == pytest.approx(np.mean(pairs), abs=1e-12)
    assert auroc([1, 1], [0.2, 0.4]) is None
