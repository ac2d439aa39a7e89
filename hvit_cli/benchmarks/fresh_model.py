"""A model whose aggregator has learned nothing: its speed is that of a trained one."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from hvit_cli.models.aggregator import Aggregator
from hvit_cli.models.encoders import PatchEncoder
from hvit_cli.models.named_encoder import load_encoder
from hvit_cli.models.random_encoder import random_encoder
from hvit_cli.models.vit import VitShape
from hvit_cli.settings import AggregatorSettings, EmbeddingSettings, ReadingSettings, TilingSettings
from hvit_cli.storage.atomic import whole_file
from hvit_cli.storage.models import (
    EncoderIdentity,
    ModelFolder,
    ModelMember,
    sha256_of,
    write_model,
)

NOTE = "a model for measuring speed: its weights were never trained"
_ENCODER, _MEMBER = "encoder.safetensors", "masked.safetensors"
VIT_S16 = VitShape()


def write_fresh_model(
    folder: Path,
    embedding: EmbeddingSettings,
    *,
    shape: VitShape = VIT_S16,
    sizes: AggregatorSettings | None = None,
    seed: int = 0,
) -> Path:
    """Writes a model folder around a patch encoder.

    Args:
        folder: Where; made.
        embedding: Names the encoder; where it names none, a Vision Transformer with fresh
            weights is written into the folder.
        shape: Sizes of that one; ViT-S/16 by default.
        sizes: Sizes of the aggregator; the paper's, fitted to the encoder, by default.
        seed: Of all weights that are drawn.

    Returns:
        The folder.

    Raises:
        ModelError: The named encoder cannot be loaded.
    """
    folder.mkdir(parents=True)
    if embedding.encoder is None:
        encoder = random_encoder(shape, seed)
        _write(encoder.network, folder / _ENCODER)
        identity = _identity(encoder, file=_ENCODER)
    else:
        encoder = load_encoder(
            embedding.encoder,
            normalisation=embedding.normalisation,
            encoder_input=embedding.encoder_input,
        )
        identity = _identity(encoder, source=embedding.encoder)
    sizes = sizes or AggregatorSettings(patch_dim=encoder.spec.width)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        _write(Aggregator(sizes), folder / _MEMBER)
    member = ModelMember(file=_MEMBER, sha256=sha256_of(folder / _MEMBER), attention="masked")
    write_model(
        ModelFolder(
            path=folder,
            name="fresh weights",
            note=NOTE,
            watermark="",
            licence="",
            encoder=identity,
            reading=ReadingSettings(),
            tiling=TilingSettings(region_px=sizes.region_px, patch_px=sizes.patch_px),
            aggregator=sizes,
            members=(member,),
        )
    )
    return folder


def _write(network: nn.Module, path: Path) -> None:
    with whole_file(path) as temporary:
        save_file(network.state_dict(), temporary)


def _identity(encoder: PatchEncoder, *, source: str = "", file: str = "") -> EncoderIdentity:
    return EncoderIdentity(
        name=encoder.spec.name,
        source=source,
        file=file,
        weights_hash=encoder.weights_hash,
        normalisation=encoder.normalisation_text,
        precision=encoder.precision,
        architecture=encoder.architecture,
        encoder_input=encoder.encoder_input,
    )
