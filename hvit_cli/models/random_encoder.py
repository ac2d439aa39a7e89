"""The baseline of an encoder that has learned nothing: fresh weights."""

from __future__ import annotations

import torch

from hvit_cli.models.encoder_specs import EncoderSpec
from hvit_cli.models.encoders import PatchEncoder
from hvit_cli.models.vit import VisionTransformer, VitShape
from hvit_cli.settings import EncoderInput

NAME = "random"


def random_encoder(
    shape: VitShape,
    seed: int,
    *,
    encoder_input: EncoderInput = "auto",
    device: str | torch.device = "cpu",
) -> PatchEncoder:
    """A Vision Transformer with the weights it has before any training.

    What its features tell is owed to its layout and to the pixels, not to learning.

    Args:
        shape: Its sizes.
        seed: Seed of the weights; the state of PyTorch's generator is left as it is.
        encoder_input: How patches are fitted to it, as for `PatchEncoder`.
        device: Where it computes.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = VisionTransformer(shape)
    spec = EncoderSpec(
        name=NAME,
        width=shape.width,
        input_px=shape.input_px,
        token_px=shape.token_px,
        pretraining="none: fresh weights",
    )
    return PatchEncoder(network, spec, encoder_input=encoder_input).to(device)
