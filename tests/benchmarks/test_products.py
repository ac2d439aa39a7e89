from __future__ import annotations

import pytest
import torch

from hvit_cli.benchmarks.products import flop_of, layer_shapes, products_of
from hvit_cli.models.vit import VisionTransformer, VitShape

SHAPE = VitShape(width=48, depth=3, heads=2, token_px=16, grid_side=4)


def test_the_shapes_are_the_four_of_a_transformer_block() -> None:
    shapes = layer_shapes(VisionTransformer(SHAPE))
    assert set(shapes) == {(48, 144), (48, 48), (48, 192), (192, 48)}


@pytest.mark.parametrize(("backward", "factor"), [(False, 1), (True, 3)])
def test_operations_are_two_for_each_weight_and_token(backward: bool, factor: int) -> None:
    products = products_of(
        VisionTransformer(SHAPE),
        10,
        device=torch.device("cpu"),
        precision="float32",
        backward=backward,
        times=2,
    )
    assert products is not None
    weights = 48 * (144 + 48 + 192 + 192)
    assert products.flop == 2 * 10 * weights * factor * 2
    products()


def test_operations_of_a_network_are_those_of_its_products_and_attentions() -> None:
    network = VisionTransformer(SHAPE).eval()
    tokens, width = 17, 48
    found = flop_of(lambda: network(torch.zeros(1, 3, 64, 64)))
    embedding = 2 * 16 * (3 * 16 * 16) * width
    attention = 2 * 2 * tokens * tokens * width
    block = 2 * tokens * 12 * width * width + attention
    # In the last block keys and values of all tokens, and everything else of CLS alone.
    last = 2 * tokens * 2 * width * width + 2 * 10 * width * width + attention / tokens
    assert found == pytest.approx(embedding + 2 * block + last)


def test_a_network_without_linear_layers_has_no_products() -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3))
    assert products_of(network, 4, device=torch.device("cpu"), precision="float32") is None
