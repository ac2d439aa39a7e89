"""The two networks of a pretraining run: the student that learns, and its teacher.

Both start from the same weights. Only the student skips blocks at random and only it has
gradients; the teacher follows it and is what a run ends with.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from timm.layers.drop import DropPath
from torch import Tensor, nn

from hvit_cli.errors import ModelError, UsageError
from hvit_cli.models.attention import set_checkpointing, set_drop_path
from hvit_cli.models.encoder_specs import EncoderSpec
from hvit_cli.models.local_encoder import (
    DESCRIPTION_FILE,
    WEIGHTS_FILE,
    is_timm_folder,
    load_vit_file,
    load_vit_folder,
)
from hvit_cli.models.timm_encoder import load_timm
from hvit_cli.models.vit import VisionTransformer, VitShape
from hvit_cli.settings import CropSettings, PretrainingSettings


@dataclass(frozen=True, kw_only=True)
class Backbones:
    """Student and teacher without their heads.

    Attributes:
        student: Views → features (n, D), with gradients, stochastic depth in training.
        teacher: The same network with the same weights, never trained itself.
        width: D.
        initial: What is known of the encoder whose weights they start from; None: drawn.
        notes: What the user should know about it.
    """

    student: nn.Module
    teacher: nn.Module
    width: int
    initial: EncoderSpec | None = None
    notes: tuple[str, ...] = ()

    def to(self, device: torch.device) -> Backbones:
        """Moves both networks to a device."""
        self.student.to(device)
        self.teacher.to(device)
        return self

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return next(self.student.parameters()).device


def new_backbones(
    settings: PretrainingSettings,
    crops: CropSettings,
    initial: str | Path | None = None,
) -> Backbones:
    """The networks of a patch encoder, weights a function of the seed or those of an encoder.

    Args:
        settings: Sizes, or the name of a timm network; drop path, checkpointing, seed.
        crops: The sizes of what the networks will see.
        initial: An encoder to start from: a folder, a weight file, or a timm or hub name.
            Its sizes replace those of the settings.

    Raises:
        ModelError: The crops are no multiples of the token, the name is none of a timm Vision
            Transformer, or the encoder cannot be loaded.
        UsageError: Both a network's name and an encoder to start from are given.
    """
    if initial is not None and settings.network is not None:
        raise UsageError(
            "a network starts from its own weights or from those of an encoder, not from both",
            where="--network",
            found=f"{settings.network} and {initial}",
        )
    network: nn.Module
    spec: EncoderSpec | None = None
    notes: tuple[str, ...] = ()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        if initial is not None:
            network, spec, notes = _load(initial)
        elif settings.network is not None:
            network = _timm_network(settings.network)
        else:
            network = _plain_network(settings, crops)
    _require_whole_tokens(network, crops)
    return pair_of(network, settings, width=_width(network), initial=spec, notes=notes)


def pair_of(
    network: nn.Module,
    settings: PretrainingSettings,
    *,
    width: int,
    initial: EncoderSpec | None = None,
    notes: tuple[str, ...] = (),
) -> Backbones:
    """Makes a network the student and a copy of it the teacher.

    Args:
        network: Has its blocks in an attribute `blocks`, ours or those of a timm Vision
            Transformer, itself or in the module that it wraps as `network`.
        settings: Drop path and checkpointing of the student.
        width: D, width of its features.
        initial: As in `Backbones`.
        notes: As in `Backbones`.

    Raises:
        ModelError: The network has no such blocks.
    """
    teacher = copy.deepcopy(network).requires_grad_(False).eval()
    _make_student(getattr(network, "network", network), settings)
    return Backbones(student=network, teacher=teacher, width=width, initial=initial, notes=notes)


def plain_weights(backbone: nn.Module) -> dict[str, Tensor]:
    """A backbone's weights on the CPU, for a file."""
    state: Mapping[str, Tensor] = backbone.state_dict()
    return {name: tensor.detach().cpu().clone() for name, tensor in state.items()}


def _make_student(network: Any, settings: PretrainingSettings) -> None:
    blocks = getattr(network, "blocks", None)
    if isinstance(network, timm.models.VisionTransformer):
        for number, block in enumerate(network.blocks):
            rate = settings.drop_path * number / max(len(network.blocks) - 1, 1)
            block.drop_path1, block.drop_path2 = DropPath(rate), DropPath(rate)
        network.set_grad_checkpointing(settings.checkpointing)
    elif isinstance(blocks, nn.ModuleList):
        set_drop_path(blocks, settings.drop_path)
        set_checkpointing(blocks, settings.checkpointing)
    else:
        raise ModelError(
            "only Transformers can be pretrained",
            found=type(network).__name__,
            wanted="a Vision Transformer",
        )


def _plain_network(settings: PretrainingSettings, crops: CropSettings) -> VisionTransformer:
    return VisionTransformer(
        VitShape(
            width=settings.width,
            depth=settings.depth,
            heads=settings.heads,
            token_px=settings.token_px,
            grid_side=max(crops.global_px // settings.token_px, 1),
        )
    )


def _timm_network(name: str) -> nn.Module:
    if not timm.is_model(name.split(".")[0]):
        raise ModelError(
            "timm knows no such network",
            where="--network",
            found=name,
            hint="vit_small_patch16_224",
        )
    network: nn.Module = timm.create_model(name, pretrained=False, num_classes=0)
    if not isinstance(network, timm.models.VisionTransformer):
        raise ModelError(
            "only Vision Transformers can be pretrained",
            where="--network",
            found=f"{name}, a {type(network).__name__}",
            hint="vit_small_patch16_224",
        )
    return timm.create_model(name, pretrained=False, num_classes=0, dynamic_img_size=True)


def _load(initial: str | Path) -> tuple[nn.Module, EncoderSpec, tuple[str, ...]]:
    path = Path(initial)
    if path.name == WEIGHTS_FILE and path.with_name(DESCRIPTION_FILE).is_file():
        path = path.parent
    if (path / DESCRIPTION_FILE).is_file() and not is_timm_folder(path):
        return load_vit_folder(path)
    if path.is_file():
        return load_vit_file(path)
    encoder, spec = load_timm(f"local-dir:{path}" if path.is_dir() else str(initial))
    return encoder.model, spec, ()


def _width(network: Any) -> int:
    if isinstance(network, VisionTransformer):
        return network.shape.width
    return int(network.num_features)


def _require_whole_tokens(network: Any, crops: CropSettings) -> None:
    if isinstance(network, VisionTransformer):
        token_px = network.shape.token_px
    elif isinstance(network, timm.models.VisionTransformer):
        token_px = int(network.patch_embed.patch_size[0])
    else:
        return
    sizes = (crops.global_px, *([crops.local_px] if crops.local_crops else []))
    if any(size % token_px for size in sizes):
        raise ModelError(
            "crops cannot be cut into tokens",
            where="--global-px and --local-px",
            found=", ".join(map(str, sizes)) + " px",
            wanted=f"multiples of {token_px} px",
        )
