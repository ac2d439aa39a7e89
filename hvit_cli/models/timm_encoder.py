"""Patch encoders by timm name, by hub address, or from a folder in timm's format.

Weights are pretrained or there is an error: timm's random initialisation is never used.
"""

from __future__ import annotations

import dataclasses
import logging
import socket
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import timm
import timm.layers
import torch
from huggingface_hub import constants
from huggingface_hub.errors import GatedRepoError
from timm.data.config import resolve_model_data_config
from torch import Tensor, nn

from hvit_cli.errors import ModelError
from hvit_cli.models.encoder_specs import EncoderSpec, Pooling, known_encoder
from hvit_cli.models.local_encoder import timm_folder_spec

_CACHED = "HF_HUB_OFFLINE=1 if it was downloaded before"
_LOCAL = "a local weight file or encoder folder with --encoder"


class TimmEncoder(nn.Module):
    """A timm network that returns one vector per image.

    Args:
        model: A network without classifier.
        pooling: `cls` takes what the network itself returns as its feature; `cls+mean`
            appends the mean of a Vision Transformer's patch tokens.
    """

    def __init__(self, model: nn.Module, pooling: Pooling) -> None:
        super().__init__()
        self.model = model
        self.pooling = pooling

    def forward(self, x: Tensor) -> Tensor:
        """Normalised images (n, 3, h, h) → (n, D)."""
        model: Any = self.model
        if self.pooling == "cls":
            pooled: Tensor = model(x)
            return pooled
        x = model.forward_features(x)
        return torch.cat([x[:, 0], x[:, model.num_prefix_tokens :].mean(1)], dim=-1)


def load_timm(name: str) -> tuple[TimmEncoder, EncoderSpec]:
    """Loads a pretrained network through timm.

    Args:
        name: A timm name, `hf-hub:owner/name`, or `local-dir:` and a folder with timm's
            `config.json` and weights.

    Raises:
        ModelError: timm knows no such name, it has no pretrained weights, or they cannot be
            fetched; one line that names the hub.
    """
    known = known_encoder(name)
    arguments = {
        key: _layer(value) if key in ("mlp_layer", "act_layer") else value
        for key, value in (known.timm_arguments if known else {}).items()
    }
    if ":" not in name and not timm.is_model(name.split(".")[0]):
        raise ModelError(
            "there is no such encoder",
            where=name,
            wanted="a file, a folder, hf-hub:owner/name or a timm name",
            hint="hvit encoders for a list",
        )
    if not name.startswith("local-dir:"):
        _require_hub(name)
    with _quiet_hub():
        model = _create(name, arguments)
    encoder, spec = _described(name, model, known)
    if name.startswith("local-dir:"):
        spec = timm_folder_spec(Path(name.removeprefix("local-dir:")), spec)
    return encoder, spec


def _create(name: str, arguments: dict[str, Any]) -> Any:
    arguments = {"pretrained": True, "num_classes": 0, **arguments}
    try:
        try:
            return timm.create_model(name, dynamic_img_size=True, **arguments)
        except TypeError as error:
            if "dynamic_img_size" not in str(error):
                raise
            return timm.create_model(name, **arguments)  # not a Vision Transformer
    except GatedRepoError as error:
        raise ModelError(
            "the encoder's weights are gated",
            where=name,
            hint="accepting the terms on its Hugging Face page, then hf auth login",
        ) from error
    # timm, the hub and the network below it raise a dozen unrelated types.
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0]
        raise ModelError(
            "the encoder cannot be loaded with pretrained weights",
            where=name,
            found=f"{type(error).__name__}: {reason}",
            wanted="a timm name with pretrained weights, or hf-hub:owner/name",
            hint=f"hvit encoders for a list, {_CACHED}, or {_LOCAL}",
        ) from error


def _layer(name: str) -> Any:
    """A layer class by name; specs are plain values."""
    return getattr(timm.layers, name, None) or getattr(nn, name)


def _described(name: str, model: Any, known: EncoderSpec | None) -> tuple[TimmEncoder, EncoderSpec]:
    resolve: Callable[[Any], dict[str, Any]] = resolve_model_data_config
    config = resolve(model)
    token = getattr(getattr(model, "patch_embed", None), "patch_size", None)
    dynamic = bool(getattr(model, "dynamic_img_size", False))
    spec = known or EncoderSpec(
        name=Path(name.removeprefix("local-dir:")).name if name.startswith("local-dir:") else name,
        width=int(getattr(model, "head_hidden_size", model.num_features)),
        input_px=int(config["input_size"][-1]),
        token_px=int(token[0]) if dynamic and token else None,
        licence=str(getattr(model, "pretrained_cfg", {}).get("license") or ""),
    )
    mean, std = ((float(a), float(b), float(c)) for a, b, c in (config["mean"], config["std"]))
    return TimmEncoder(model, spec.pooling), dataclasses.replace(spec, mean=mean, std=std)


def _require_hub(name: str) -> None:
    """Fails at once without a network, instead of after minutes of retries."""
    if constants.HF_HUB_OFFLINE or urllib.request.getproxies():
        return
    host = urlsplit(constants.ENDPOINT).hostname or constants.ENDPOINT
    try:
        socket.getaddrinfo(host, 443)
    except OSError as error:
        raise ModelError(
            f"the encoder's weights cannot be downloaded, because {host} cannot be reached",
            where=name,
            hint=f"{_CACHED}, or {_LOCAL}",
        ) from error


@contextmanager
def _quiet_hub() -> Iterator[None]:
    """Keeps the hub's retry messages off the screen; what failed is in the error."""
    logger = logging.getLogger("huggingface_hub")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
