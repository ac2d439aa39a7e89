"""Gradient maps against finite differences, and integrated gradients' completeness."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from hvit_cli.attribution.gradients import gradient_attention, integrated_gradients
from hvit_cli.models.aggregator import Aggregator
from hvit_cli.models.attention import Block, Span
from hvit_cli.settings import Attention, TaskSettings
from hvit_cli.storage.features import SlideFeatures
from hvit_cli.training.bags import bag_of

TASK = TaskSettings()
MakeAggregator = Callable[..., Aggregator]
MakeFeatures = Callable[..., SlideFeatures]


@torch.no_grad()
def score(aggregator: Aggregator, features: SlideFeatures, attention: Attention) -> float:
    return float(aggregator([bag_of(features, attention)]).score)


@pytest.mark.parametrize("attention", ["masked", "plain"])
def test_gradient_is_what_a_change_of_one_attention_weight_does(
    make_aggregator: MakeAggregator,
    make_features: MakeFeatures,
    attention: Attention,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    aggregator, features = make_aggregator(1), make_features()
    per_head = [
        gradient_attention([aggregator], features, attention, TASK, head=head) for head in range(3)
    ]
    together = gradient_attention([aggregator], features, attention, TASK)
    np.testing.assert_allclose(together.value, sum(one.value for one in per_head), atol=1e-12)
    assert together.signed

    last = aggregator.region_transformer.blocks[-1]
    assert isinstance(last, Block)
    step, (region, row, head) = 1e-4, (3, 32, 2)
    assert features.region_index[row] == region
    assert features.visible(attention)[row]

    # The dense path, in which a region and a patch stand at their own places.
    whole = torch.from_numpy(features.features.astype(np.float64)).reshape(5, 9, -1)
    seen = torch.from_numpy(features.visible(attention)).reshape(5, 9)
    place, weight = 3 + int(features.patch_index[row]), [0.0]

    def pushed(push: float) -> float:
        def forward_cls(x: Tensor, spans: list[Span]) -> tuple[Tensor, list[Tensor]]:
            dim = x.shape[-1]
            (span,) = spans
            qkv = last.attn.qkv(x).view(5, span.length, 3, 3, dim // 3)
            q, k, v = (part.transpose(1, 2) for part in qkv.unbind(2))
            logits = q[:, :, :1] @ k.transpose(2, 3) / (dim // 3) ** 0.5
            if span.mask is not None:
                logits = logits.masked_fill(~span.mask, float("-inf"))
            share = logits.softmax(-1)
            weight[0] = float(share[region, head, 0, place])
            share[region, head, 0, place] += push
            return last.attn.proj((share @ v).flatten(1)), [share.squeeze(2)]

        with monkeypatch.context() as patched, torch.no_grad():
            patched.setattr(last.attn, "forward_cls", forward_cls)
            return float(aggregator.forward_dense(whole, seen).score)

    slope = (pushed(step) - pushed(-step)) / (2 * step)
    pushed(0)
    assert per_head[head].value[row] == pytest.approx(slope * weight[0], rel=1e-5)


@pytest.mark.parametrize("attention", ["masked", "plain"])
def test_integrated_gradients_add_up_to_the_change_of_the_score(
    make_aggregator: MakeAggregator, make_features: MakeFeatures, attention: Attention
) -> None:
    aggregators = [make_aggregator(1, scale=1), make_aggregator(2, scale=1)]
    features = make_features(0, 0.5)
    nothing = make_features(0, 0.0)
    nothing.features[:] = 0
    change = np.mean(
        [score(one, features, attention) - score(one, nothing, attention) for one in aggregators]
    )
    found = integrated_gradients(aggregators, features, attention, TASK, points=100)
    assert abs(change) > 1e-3
    assert found.value.sum() == pytest.approx(change, rel=1e-3)
    assert (found.value[~found.visible] == 0).all()


def test_masked_gradients_do_not_know_the_glass(
    make_aggregator: MakeAggregator, make_features: MakeFeatures
) -> None:
    aggregators = [make_aggregator(1)]
    for method in (gradient_attention, integrated_gradients):
        clean, dirty = (
            method(aggregators, make_features(0, b), "masked", TASK) for b in (0, float("nan"))
        )
        np.testing.assert_array_equal(clean.value, dirty.value)


def test_weights_are_asked_for_no_gradient_and_left_as_they_were(
    make_aggregator: MakeAggregator, make_features: MakeFeatures
) -> None:
    aggregator = make_aggregator(1)
    wanted = [parameter.requires_grad for parameter in aggregator.parameters()]
    gradient_attention([aggregator], make_features(), "masked", TASK)
    assert [parameter.requires_grad for parameter in aggregator.parameters()] == wanted
    assert all(parameter.grad is None for parameter in aggregator.parameters())
    assert not any(module._forward_hooks for module in aggregator.modules())
