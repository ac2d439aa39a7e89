"""What a patch's features depend on: the patch, and not what shares its batch."""

from __future__ import annotations

import numpy as np
import torch

from hvit_cli.models.encoder_specs import EncoderSpec
from hvit_cli.models.encoders import PatchEncoder
from hvit_cli.models.vit import VisionTransformer, VitShape

SHAPE = VitShape(width=64, depth=3, heads=4, token_px=16, grid_side=8)


def test_features_do_not_depend_on_neighbours_nor_places_in_a_batch() -> None:
    torch.manual_seed(0)
    spec = EncoderSpec(name="small", width=64, input_px=128, token_px=16)
    encoder = PatchEncoder(VisionTransformer(SHAPE), spec)
    pixels = np.random.default_rng(0).integers(0, 256, (16, 128, 128, 3), np.uint8)
    whole = encoder.embed(pixels)
    order = np.random.default_rng(1).permutation(16)
    np.testing.assert_array_equal(encoder.embed(pixels[order]), whole[order])
    other = pixels.copy()
    other[8:] = 0
    np.testing.assert_array_equal(encoder.embed(other)[:8], whole[:8])
