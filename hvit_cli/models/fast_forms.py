"""Which networks have a fast form (`FastVit`), and how it is made of their layers."""

from __future__ import annotations

import math
import sys
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from hvit_cli.models.fast_linear import FastLinear
from hvit_cli.models.fast_vit import (
    FastAttention,
    FastBlock,
    FastMlp,
    FastNorm,
    FastVit,
    Weights,
)
from hvit_cli.models.position import resize_positions
from hvit_cli.models.vit import VisionTransformer


def fast_form(network: nn.Module, dtype: torch.dtype) -> FastVit | None:
    """The fast form of a network, or None for one that runs as it is.

    A copy of the weights is kept; `weights_state` tells whether it is still right.

    Args:
        network: Normalised images → features, in evaluation mode.
        dtype: Number format it is to compute in.
    """
    if dtype == torch.float16:
        return None  # sums over blocks may leave its range; autocast keeps those in float32
    if isinstance(network, VisionTransformer):
        return _own(network, dtype)
    # timm's classes are known here only if timm has been imported, which takes seconds.
    if "timm.models.vision_transformer" in sys.modules:
        return _timm(network, dtype)
    return None


def weights_state(network: nn.Module) -> tuple[tuple[int, int], ...]:
    """Where weights lie and how often they were changed in place: another one, other weights."""
    return tuple((weight.data_ptr(), weight._version) for weight in network.parameters())


def _own(network: VisionTransformer, dtype: torch.dtype) -> FastVit:
    shape = network.shape

    @lru_cache(maxsize=4)
    def positions(side: int) -> Tensor:
        return resize_positions(network.pos_embed, side).detach()

    def place(tokens: Tensor) -> Tensor:
        cls = network.cls_token.expand(len(tokens), -1, -1)
        return torch.cat([cls, tokens], dim=1) + positions(_side(tokens))

    return FastVit(
        token_px=shape.token_px,
        embed=_embedding(network.patch_embed.proj, dtype),
        place=place,
        blocks=_blocks(network.blocks, dtype),
        norm=FastNorm(network.norm, dtype),
        dtype=dtype,
    )


def _timm(network: nn.Module, dtype: torch.dtype) -> FastVit | None:
    """The form of a timm Vision Transformer read from CLS, if it is made of plain layers."""
    from hvit_cli.models.timm_encoder import TimmEncoder

    if isinstance(network, TimmEncoder) and network.pooling != "cls":
        return None
    model: Any = network.model if isinstance(network, TimmEncoder) else network
    if not _is_plain(model):
        return None
    dynamic = bool(model.dynamic_img_size)

    def place(tokens: Tensor) -> Tensor:
        if dynamic:
            side = _side(tokens)
            tokens = tokens.view(len(tokens), side, side, -1)
        placed: Tensor = model._pos_embed(tokens)
        return placed

    return FastVit(
        token_px=int(model.patch_embed.patch_size[0]),
        embed=_embedding(model.patch_embed.proj, dtype),
        place=place,
        blocks=_blocks(model.blocks, dtype),
        norm=FastNorm(model.norm, dtype),
        dtype=dtype,
    )


def _blocks(blocks: Any, dtype: torch.dtype) -> tuple[FastBlock, ...]:
    """Ours and timm's, which share their names; timm's may have a LayerScale."""
    return tuple(
        FastBlock(
            FastNorm(block.norm1, dtype),
            FastAttention(
                _pair(block.attn.qkv),
                block.attn.num_heads,
                _scaled(block.attn.proj, getattr(block, "ls1", None)),
                dtype,
                last=number == len(blocks),
            ),
            FastNorm(block.norm2, dtype),
            FastMlp(
                _pair(block.mlp.fc1), _scaled(block.mlp.fc2, getattr(block, "ls2", None)), dtype
            ),
        )
        for number, block in enumerate(blocks, start=1)
    )


def _is_plain(model: Any) -> bool:
    """Whether a timm network is nothing but what `FastVit` computes."""
    from timm.layers.attention import Attention
    from timm.layers.layer_scale import LayerScale
    from timm.layers.mlp import Mlp
    from timm.layers.patch_embed import PatchEmbed
    from timm.models.vision_transformer import Block as TimmBlock
    from timm.models.vision_transformer import VisionTransformer as TimmVit

    if type(model) is not TimmVit or model.global_pool != "token" or not model.blocks:
        return False
    tokens = model.patch_embed
    around = (model.norm_pre, model.fc_norm, model.patch_drop, model.head, tokens.norm)
    return (
        all(type(layer) is nn.Identity for layer in around)
        and type(tokens) is PatchEmbed
        and type(tokens.proj) is nn.Conv2d
        and tokens.proj.kernel_size == tokens.proj.stride
        and tokens.proj.padding == (0, 0)
        and model.cls_token is not None
        and isinstance(model.norm, nn.LayerNorm)
        and all(
            type(block) is TimmBlock
            and isinstance(block.norm1, nn.LayerNorm)
            and isinstance(block.norm2, nn.LayerNorm)
            and type(block.attn) is Attention
            and type(block.attn.q_norm) is type(block.attn.k_norm) is nn.Identity
            and type(getattr(block.attn, "norm", nn.Identity())) is nn.Identity
            and getattr(block.attn, "gate", None) is None
            and _is_square(block.attn)
            and type(block.ls1) in (nn.Identity, LayerScale)
            and type(block.ls2) in (nn.Identity, LayerScale)
            and type(block.mlp) is Mlp
            and type(block.mlp.fc1) is nn.Linear
            and type(block.mlp.norm) is nn.Identity
            and isinstance(block.mlp.act, nn.GELU)
            and block.mlp.act.approximate == "none"
            for block in model.blocks
        )
    )


def _is_square(attention: Any) -> bool:
    """Whether its heads are together as wide as the tokens."""
    return bool(attention.qkv.out_features == 3 * attention.proj.out_features)


def _pair(layer: Any) -> Weights:
    return layer.weight.detach(), None if layer.bias is None else layer.bias.detach()


def _scaled(layer: Any, scale: Any) -> Weights:
    """A layer's weights with the LayerScale behind it multiplied in."""
    weight, bias = _pair(layer)
    if scale is None or isinstance(scale, nn.Identity):
        return weight, bias
    gamma = scale.gamma.detach()
    return weight * gamma[:, None], None if bias is None else bias * gamma


def _embedding(proj: Any, dtype: torch.dtype) -> FastLinear:
    """The projection of tokens as a matrix product."""
    weight, bias = _pair(proj)
    return FastLinear(weight.flatten(1), bias, dtype)


def _side(tokens: Tensor) -> int:
    return math.isqrt(tokens.shape[1])
