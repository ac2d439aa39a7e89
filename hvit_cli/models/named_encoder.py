"""A patch encoder by its name: timm's, the hub's, a weight file's or a folder's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from hvit_cli.errors import ModelError
from hvit_cli.models.device import choose_device, choose_precision
from hvit_cli.models.encoder_specs import EncoderSpec
from hvit_cli.models.encoders import PatchEncoder
from hvit_cli.models.local_encoder import (
    DESCRIPTION_FILE,
    WEIGHTS_FILE,
    is_timm_folder,
    load_vit_file,
    load_vit_folder,
)
from hvit_cli.settings import EmbeddingSettings, EncoderInput, Normalisation, Precision


def load_encoder(
    name: str | Path,
    *,
    normalisation: Normalisation | None = None,
    encoder_input: EncoderInput = "auto",
    device: str = "cpu",
    precision: Precision = "auto",
    architecture: Mapping[str, Any] | None = None,
    batch_size: int = EmbeddingSettings.batch_size,
) -> PatchEncoder:
    """Loads a patch encoder, pretrained or not at all.

    Args:
        name: A timm name; `hf-hub:owner/name`; a weight file (DINO snapshot, state dict,
            safetensors); a folder with `encoder.json`, or with timm's `config.json`.
        normalisation: Replaces the encoder's own.
        encoder_input: How patches are fitted to the network.
        device: auto, cpu, cuda, cuda:1 or mps.
        precision: auto is bfloat16 on CUDA and float32 elsewhere.
        architecture: `PatchEncoder.architecture` of the encoder whose weights the file
            holds; None reads a description beside the file, or the weights themselves.
        batch_size: Patches per step of `embed` on a GPU.

    Raises:
        CheckpointError: A local file cannot be read or does not fit.
        ModelError: There is no such encoder, or no pretrained weights for it.
        UsageError: There is no such device here, or it cannot compute in that precision.
    """
    on = choose_device(device)
    path, source = Path(name), ""
    network: nn.Module
    notes: tuple[str, ...] = ()
    if path.is_dir() and is_timm_folder(path):
        network, spec = _load_timm(f"local-dir:{path}")
    elif path.is_dir() and (path / DESCRIPTION_FILE).is_file():
        network, spec, notes = load_vit_folder(path)
    elif path.is_dir():
        raise ModelError(
            "the folder is no encoder",
            where=path,
            wanted=f"{DESCRIPTION_FILE} beside {WEIGHTS_FILE}, or timm's config.json",
        )
    elif architecture is not None:
        network, spec, notes = load_vit_file(path, architecture)
    elif path.name == WEIGHTS_FILE and path.with_name(DESCRIPTION_FILE).is_file():
        network, spec, notes = load_vit_folder(path.parent)
    elif path.is_file() or path.suffix in (".pth", ".pt", ".bin", ".safetensors"):
        network, spec, notes = load_vit_file(path)
    else:
        source = str(name)
        network, spec = _load_timm(source)
    encoder = PatchEncoder(
        network,
        spec,
        normalisation=normalisation,
        encoder_input=encoder_input,
        precision=choose_precision(precision, on),
        source=source,
        notes=notes,
        batch_size=batch_size,
    )
    return encoder.to(on)


def _load_timm(name: str) -> tuple[nn.Module, EncoderSpec]:
    # timm takes seconds to import, and local weights do not need it.
    from hvit_cli.models.timm_encoder import load_timm

    return load_timm(name)
