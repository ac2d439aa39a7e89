"""Where the patch encoder itself looked: its last block's attention from CLS to the tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from hvit_cli.errors import ModelError
from hvit_cli.models.encoders import PatchEncoder
from hvit_cli.models.vit import VisionTransformer

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class TokenAttention:
    """Attention from CLS within patches.

    Attributes:
        tokens: (n, H, T²) to each token in row-major order.
        kept: (n, H) to CLS itself and registers; with the tokens it adds up to 1.
    """

    tokens: Floats
    kept: Floats


@torch.inference_mode()
def token_attention(encoder: PatchEncoder, patches: npt.NDArray[np.uint8]) -> TokenAttention:
    """Attention from CLS to the tokens of each patch, per head, in the last block.

    Args:
        encoder: A Vision Transformer whose output is read from CLS.
        patches: (n, h, h, 3) uint8 RGB.

    Raises:
        ModelError: The encoder has no CLS token, or no attention that could be seen.
    """
    pixels = torch.from_numpy(np.ascontiguousarray(patches)).to(encoder.device)
    x = encoder.network_input(pixels.permute(0, 3, 1, 2))
    network = encoder.network
    with encoder.arithmetic():
        if isinstance(network, VisionTransformer):
            attention, prefix = network.forward_attention(x)[1], 1
        else:
            attention, prefix = _timm_attention(encoder, x)
    attention = attention.double().cpu()
    return TokenAttention(
        tokens=attention[..., prefix:].numpy(), kept=attention[..., :prefix].sum(-1).numpy()
    )


def require_token_attention(encoder: PatchEncoder) -> None:
    """Refuses encoders of which no attention from CLS can be shown.

    Raises:
        ModelError: See `token_attention`.
    """
    if not isinstance(encoder.network, VisionTransformer):
        _last_attention(encoder)


def _last_attention(encoder: PatchEncoder) -> tuple[Any, int]:
    """The last block's attention layer of a timm network, and its tokens before the patch's."""
    model: Any = getattr(encoder.network, "model", None)
    blocks = getattr(model, "blocks", None)
    attention = getattr(blocks[-1], "attn", None) if blocks is not None and len(blocks) else None
    looks = hasattr(attention, "fused_attn") and hasattr(attention, "attn_drop")
    has_cls = getattr(model, "cls_token", None) is not None
    if not looks or not has_cls or getattr(model, "global_pool", "token") not in ("token", ""):
        raise ModelError(
            "the patch encoder has no attention from CLS to its tokens, so no map of them",
            where=encoder.spec.name,
            found=type(model if model is not None else encoder.network).__name__,
            wanted="a Vision Transformer read from its CLS token",
            hint="--level region",
        )
    return attention, int(model.num_prefix_tokens)


def _timm_attention(encoder: PatchEncoder, x: Tensor) -> tuple[Tensor, int]:
    """(n, H, prefix + T²) attention from CLS, and the number of tokens before the patch's."""
    layer, prefix = _last_attention(encoder)
    seen: list[Tensor] = []

    def keep(_: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        seen.append(arguments[0][:, :, 0])

    fused = layer.fused_attn
    hook = layer.attn_drop.register_forward_pre_hook(keep)
    # The fused kernel never holds the weights.
    layer.fused_attn = False
    try:
        encoder.network(x)
    finally:
        layer.fused_attn = fused
        hook.remove()
    return seen[0], prefix
