from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from timm.layers.mlp import SwiGLUPacked
from torch import nn

from hvit_cli.models.fast_forms import fast_form, weights_state
from hvit_cli.models.fast_linear import FastLinear
from hvit_cli.models.fast_vit import FastVit
from hvit_cli.models.timm_encoder import TimmEncoder
from hvit_cli.models.vit import VisionTransformer, VitShape

SMALL: dict[str, Any] = {"embed_dim": 48, "depth": 3, "num_heads": 3, "img_size": 64}


def drawn(network: nn.Module) -> nn.Module:
    torch.manual_seed(1)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.1)
    return network.eval()


def timm_vit(pooling: Any = "cls", **arguments: Any) -> TimmEncoder:
    model = timm.create_model("vit_small_patch16_224", num_classes=0, **(SMALL | arguments))
    return TimmEncoder(drawn(model), pooling)


def images(size: int = 64) -> torch.Tensor:
    return torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(0))


@torch.inference_mode()
@pytest.mark.parametrize("shape", [VitShape(width=64, depth=3, heads=4, grid_side=7)])
@pytest.mark.parametrize("size", [64, 112])
def test_the_fast_form_of_ours_is_the_same_function(shape: VitShape, size: int) -> None:
    network = drawn(VisionTransformer(shape))
    form = fast_form(network, torch.float32)
    assert isinstance(form, FastVit)
    x = images(size)
    torch.testing.assert_close(form(x), network(x), atol=1e-5, rtol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"dynamic_img_size": True},
        {"init_values": 0.5},
        {"reg_tokens": 2, "init_values": 0.5, "dynamic_img_size": True},
        {"reg_tokens": 2, "no_embed_class": True},
        {"qkv_bias": False},
    ],
)
def test_plain_timm_networks_have_a_fast_form(arguments: dict[str, Any]) -> None:
    network = timm_vit(**arguments)
    form = fast_form(network, torch.float32)
    assert isinstance(form, FastVit)
    torch.testing.assert_close(form(images()), network(images()), atol=1e-5, rtol=1e-5)
    if arguments.get("dynamic_img_size"):
        torch.testing.assert_close(form(images(96)), network(images(96)), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "network",
    [
        timm_vit(pooling="cls+mean"),
        timm_vit(qk_norm=True),
        timm_vit(global_pool="avg"),
        timm_vit(pre_norm=True),
        timm_vit(mlp_layer=SwiGLUPacked),
        timm_vit(act_layer=nn.SiLU),
        timm_vit(act_layer=nn.Tanh),
        timm_vit(block_fn=timm.models.vision_transformer.ResPostBlock),
        TimmEncoder(timm.create_model("resnet10t", num_classes=0), "cls"),
        nn.Flatten(),
    ],
)
def test_other_networks_run_as_they_are(network: nn.Module) -> None:
    assert fast_form(network, torch.float32) is None


def test_float16_runs_as_it_is() -> None:
    assert fast_form(VisionTransformer(VitShape(depth=1)), torch.float16) is None


@torch.inference_mode()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bias", [True, False])
def test_fast_layers_are_layers(dtype: torch.dtype, bias: bool) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(40, 24, bias=bias)
    fast = FastLinear(layer.weight, layer.bias, dtype)
    x, other = torch.randn(7, 40).to(dtype), torch.randn(7, 24).to(dtype)
    exact = torch.nn.functional.linear(
        x.double(),
        layer.weight.to(dtype).double(),
        None if layer.bias is None else layer.bias.to(dtype).double(),
    )
    near = 1e-5 if dtype == torch.float32 else 2e-2
    for found, expected in (
        (fast(x), exact),
        (fast.gelu(x), torch.nn.functional.gelu(exact)),
        (fast.added_to(x, other), exact + other.double()),
    ):
        assert found.dtype == dtype
        torch.testing.assert_close(found.double(), expected, atol=near, rtol=near)


def test_changed_weights_are_noticed() -> None:
    layer = nn.Linear(3, 3)
    before = weights_state(layer)
    assert weights_state(layer) == before
    with torch.no_grad():
        layer.bias.add_(1)
    assert weights_state(layer) != before
