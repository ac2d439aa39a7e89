"""Attention of a timm network against our own with the same weights, and what has none."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch

from hvit_cli.errors import ModelError
from hvit_cli.models.encoder_specs import EncoderSpec
from hvit_cli.models.encoders import PatchEncoder
from hvit_cli.models.timm_encoder import TimmEncoder
from hvit_cli.models.token_attention import require_token_attention, token_attention
from hvit_cli.models.vit import VisionTransformer, VitShape

SPEC = EncoderSpec(name="tiny", width=192, input_px=64, token_px=16)


def test_timms_attention_is_that_of_our_network_with_its_weights() -> None:
    torch.manual_seed(0)
    model = timm.create_model(
        "vit_tiny_patch16_224", pretrained=False, num_classes=0, depth=2, img_size=64
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    ours = VisionTransformer(VitShape(width=192, depth=2, heads=3, grid_side=4))
    ours.load_state_dict(model.state_dict())
    theirs = PatchEncoder(TimmEncoder(model, "cls"), SPEC)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)
    before = theirs.embed(pixels)
    found = token_attention(theirs, pixels)
    wanted = token_attention(PatchEncoder(ours, SPEC), pixels)
    assert found.tokens.shape == (3, 3, 16)
    assert np.ptp(found.tokens) > 0.01
    np.testing.assert_allclose(found.tokens, wanted.tokens, atol=1e-5)
    np.testing.assert_allclose(found.tokens.sum(-1) + found.kept, 1, atol=1e-5)
    # The network is left as it was.
    np.testing.assert_array_equal(theirs.embed(pixels), before)
    assert not any(module._forward_pre_hooks for module in theirs.modules())


def test_networks_without_attention_from_cls_are_refused() -> None:
    resnet = timm.create_model("resnet18", pretrained=False, num_classes=0)
    pooled = timm.create_model(
        "vit_tiny_patch16_224", pretrained=False, num_classes=0, depth=1, global_pool="avg"
    )
    for model in (resnet, pooled):
        encoder = PatchEncoder(TimmEncoder(model, "cls"), SPEC)
        with pytest.raises(ModelError, match="no attention from CLS to its tokens"):
            require_token_attention(encoder)
