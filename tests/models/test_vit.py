from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from hvit_cli.errors import CheckpointError, ModelError
from hvit_cli.models.vit import VisionTransformer, VitShape, infer_vit_shape

SMALL = VitShape(width=12, depth=2, heads=3, token_px=4, grid_side=3, mlp_ratio=2.0)


def shapes(network: VisionTransformer) -> dict[str, tuple[int, ...]]:
    return {name: tuple(w.shape) for name, w in network.state_dict().items()}


def loaded(rule: Callable[..., dict[str, Any]], seed: int, shape: VitShape) -> VisionTransformer:
    network = VisionTransformer(shape).eval()
    state = rule(seed, shapes(network))
    network.load_state_dict({k: torch.from_numpy(w) for k, w in state.items()})
    return network


def test_the_default_is_called_and_shaped_like_dinos_vit_small(reference: Path) -> None:
    keys = json.loads((reference / "state_dict_keys.json").read_text())["patch_encoder"]
    assert shapes(VisionTransformer(VitShape())) == {k: tuple(v) for k, v in keys.items()}


@torch.no_grad()
def test_vit_small_agrees_with_the_original(
    reference: Path, rule: Callable[..., dict[str, Any]]
) -> None:
    with np.load(reference / "patch_vit_small.npz") as arrays:
        case = SimpleNamespace(**arrays)
    network = loaded(rule, int(case.seed), VitShape())
    visible = torch.from_numpy(case.tissue) if case.masked else None
    pixels = torch.from_numpy(case.pixels.astype(np.float32))
    embedding, attention = network.forward_attention(pixels, visible)
    np.testing.assert_allclose(embedding, case.embedding, atol=1e-5, rtol=0)
    np.testing.assert_allclose(attention, case.cls_attention, atol=1e-6, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("image_px", [8, 12, 20])
@pytest.mark.parametrize("masked", [False, True])
def test_any_size_agrees_with_the_formulas(
    oracle: SimpleNamespace, rule: Callable[..., dict[str, Any]], image_px: int, masked: bool
) -> None:
    network = loaded(rule, 5, SMALL)
    generator = np.random.default_rng(image_px)
    pixels = generator.standard_normal((3, 3, image_px, image_px))
    visible = generator.random((3, (image_px // 4) ** 2)) < 0.5 if masked else None
    state = {name: w.numpy() for name, w in network.state_dict().items()}
    expected = oracle.embed(state, pixels, 3, visible)
    mask = None if visible is None else torch.from_numpy(visible)
    embedding, attention = network.forward_attention(torch.from_numpy(pixels).float(), mask)
    np.testing.assert_allclose(embedding, expected.embedding, atol=1e-5)
    np.testing.assert_allclose(attention, expected.cls_attention, atol=1e-6)


def test_hidden_tokens_may_hold_anything(rule: Callable[..., dict[str, Any]]) -> None:
    network = loaded(rule, 5, SMALL)
    pixels = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    visible = torch.tensor([[True, False, False, False]])
    dirty = pixels.clone()
    dirty[..., 4:, :] = dirty[..., :, 4:] = torch.nan
    dirty.requires_grad_()
    embedding, attention = network.forward_attention(dirty, visible)
    assert torch.equal(embedding, network(pixels, visible))
    assert (attention[..., 2:] == 0).all()
    (gradient,) = torch.autograd.grad(embedding.sum(), dirty)
    assert (gradient[..., 4:, :] == 0).all() and (gradient[..., :, 4:] == 0).all()
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("size", [(10, 10), (8, 12), (3, 3)])
def test_images_that_tokens_do_not_fill_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ModelError, match="squares of a multiple of 4 px"):
        VisionTransformer(SMALL)(torch.zeros(1, 3, *size))


def test_shape_is_read_off_the_weights() -> None:
    state = VisionTransformer(SMALL).state_dict()
    assert infer_vit_shape(state, heads=3) == SMALL
    assert infer_vit_shape(VisionTransformer(VitShape(depth=11)).state_dict()).depth == 11
    assert infer_vit_shape(VisionTransformer(VitShape()).state_dict()) == VitShape()
    with pytest.raises(ModelError, match="heads cannot be told"):
        infer_vit_shape(state)
    with pytest.raises(ModelError, match="divide its width"):
        infer_vit_shape(state, heads=5)
    del state["cls_token"]
    with pytest.raises(CheckpointError, match="missing: cls_token"):
        infer_vit_shape(state)
