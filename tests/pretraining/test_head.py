from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from hvit_cli.pretraining.head import LastLayer, ProjectionHead
from hvit_cli.settings import PretrainingSettings

SMALL = PretrainingSettings(out_dim=50, head_hidden=40, head_bottleneck=20)


def test_the_default_head_is_dinos() -> None:
    with torch.device("meta"):
        head = ProjectionHead(384, PretrainingSettings())
    assert {name: tuple(w.shape) for name, w in head.state_dict().items()} == {
        "mlp.0.weight": (2048, 384),
        "mlp.0.bias": (2048,),
        "mlp.2.weight": (2048, 2048),
        "mlp.2.bias": (2048,),
        "mlp.4.weight": (256, 2048),
        "mlp.4.bias": (256,),
        "last_layer.weight_v": (65536, 256),
        "last_layer.weight_g": (65536, 1),
    }
    assert not head.last_layer.weight_g.requires_grad


def test_it_computes_the_layers_one_after_the_other() -> None:
    head = ProjectionHead(12, SMALL).double()
    x = torch.randn(7, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    state = head.state_dict()
    y = x
    for number in (0, 2, 4):
        y = y @ state[f"mlp.{number}.weight"].T + state[f"mlp.{number}.bias"]
        if number < 4:
            y = y * 0.5 * (1 + torch.erf(y / math.sqrt(2)))
    y = y / y.square().sum(1, keepdim=True).sqrt()
    directions = state["last_layer.weight_v"]
    directions = directions / directions.square().sum(1, keepdim=True).sqrt()
    torch.testing.assert_close(head(x), y @ directions.T)
    # Unit vectors on both sides: outputs are cosines, at the start and with lengths kept at 1.
    assert head(x).abs().max() <= 1


def test_the_last_layer_is_pytorchs_weight_norm() -> None:
    layer = LastLayer(6, 9, learn_lengths=True).double()
    with torch.no_grad():
        layer.weight_g.uniform_(0.5, 2)
    theirs = torch.nn.Linear(6, 9, bias=False).double()
    torch.nn.utils.parametrizations.weight_norm(theirs)
    theirs.parametrizations.weight.original0.data.copy_(layer.weight_g.data)
    theirs.parametrizations.weight.original1.data.copy_(layer.weight_v.data)
    x = torch.randn(4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(layer(x), theirs(x))


@torch.no_grad()
def test_weights_are_drawn_as_dino_draws_them() -> None:
    torch.manual_seed(0)
    head = ProjectionHead(384, PretrainingSettings(out_dim=1000))
    weight = head.mlp[2].weight
    assert float(weight.std()) == pytest.approx(0.02, rel=0.02)
    assert float(weight.abs().max()) < 0.2
    assert not head.mlp[2].bias.any()
    assert float(head.last_layer.weight_v.abs().max()) <= 1 / 16  # of nn.Linear
    lengths = F.normalize(head.last_layer.weight_v, dim=1).norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones(1000))


def test_a_head_of_one_layer_has_no_middle() -> None:
    head = ProjectionHead(12, PretrainingSettings(head_layers=1, out_dim=5, head_bottleneck=3))
    assert [name for name in head.state_dict() if name.startswith("mlp")] == [
        "mlp.0.weight",
        "mlp.0.bias",
    ]
