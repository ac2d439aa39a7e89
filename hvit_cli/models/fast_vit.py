"""A Vision Transformer arranged for embedding: the same function, computed faster.

Beside `FastLinear`: weights are converted once instead of at every call, tokens are cut by
moving pixels and projected by a matrix product, attention takes the faster of two ways, and the
last block is computed for what is read alone. `docs/decisions/0012-fast-embedding.md` has the
measurements.

Letters: n images, N tokens of an image (CLS first), T tokens of all images, D width, H heads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hvit_cli.models.fast_linear import FastLinear

Weights = tuple[Tensor, Tensor | None]
"""Weight and bias of a linear layer."""


class FastNorm:
    """A LayerNorm in a number format; the sums inside are in float32."""

    def __init__(self, layer: nn.LayerNorm, dtype: torch.dtype) -> None:
        self.shape, self.eps = layer.normalized_shape, layer.eps
        self.weight, self.bias = (
            None if tensor is None else tensor.detach().to(dtype)
            for tensor in (layer.weight, layer.bias)
        )

    def __call__(self, x: Tensor) -> Tensor:
        """(T, D) → (T, D)."""
        return F.layer_norm(x, self.shape, self.weight, self.bias, self.eps)


class FastAttention:
    """Multi-head self-attention over images of one number of tokens.

    Args:
        qkv: Weight and bias of queries, keys and values in one layer (3·D, D).
        heads: H.
        proj: Those of the layer behind it.
        dtype: Number format.
        last: Whether only the first token's result is wanted.
    """

    def __init__(
        self, qkv: Weights, heads: int, proj: Weights, dtype: torch.dtype, *, last: bool
    ) -> None:
        weight, bias = qkv
        dim = weight.shape[0] // 3
        self.heads, self.head_dim = heads, dim // heads
        parts = (slice(0, dim), slice(dim, None)) if last else (slice(None),)
        self.inputs = [
            FastLinear(weight[part], None if bias is None else bias[part], dtype) for part in parts
        ]
        self.proj = FastLinear(*proj, dtype)

    def added_to(self, residual: Tensor, x: Tensor, images: int) -> Tensor:
        """What the attention adds: x (T, D), normalised → residual + update (T, D)."""
        (qkv,) = self.inputs
        parts = qkv(x).view(images, -1, 3, self.heads, self.head_dim)
        q, k, v = parts.permute(2, 0, 3, 1, 4).unbind(0)  # (n, H, N, D/H)
        out = attend(q, k, v).transpose(1, 2).reshape(len(x), -1)
        return self.proj.added_to(out, residual)

    def added_to_first(self, residual: Tensor, x: Tensor, images: int) -> Tensor:
        """As `added_to` for the first token of each image: residual (n, D) → (n, D).

        Products and sums over single queries are written out: a library's batched product of
        one row was seen to sum in another order at another place in the batch.
        """
        first = x.view(images, -1, x.shape[-1])[:, 0].contiguous()
        to_q, to_kv = self.inputs
        q = to_q(first).view(images, 1, self.heads, self.head_dim).float()
        kv = to_kv(x).view(images, -1, 2, self.heads, self.head_dim)
        k, v = kv.unbind(2)  # (n, N, H, D/H)
        weights = (q * self.head_dim**-0.5 * k).sum(-1, keepdim=True).softmax(dim=1)
        out = (weights * v).sum(1).flatten(1).to(x.dtype)
        return self.proj.added_to(out, residual)


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Scaled dot-product attention, (n, H, N, D/H) each, by the faster of two ways.

    PyTorch's fused kernel takes 1.9 ms for 257 tokens of a ViT-S/16 in bfloat16 on a processor,
    two products and a softmax 1.1; in float32, and on a GPU, the fused one is faster.
    """
    if q.device.type != "cpu" or q.dtype != torch.bfloat16:
        return F.scaled_dot_product_attention(q, k, v)
    logits = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1).contiguous()
    out: Tensor = logits.softmax(dim=-1) @ v.contiguous()
    return out


class FastMlp:
    """Two layers with an exact GELU between them."""

    def __init__(self, fc1: Weights, fc2: Weights, dtype: torch.dtype) -> None:
        self.fc1, self.fc2 = FastLinear(*fc1, dtype), FastLinear(*fc2, dtype)

    def added_to(self, residual: Tensor, x: Tensor) -> Tensor:
        """What the MLP adds: x (T, D), normalised → residual + update (T, D)."""
        return self.fc2.added_to(self.fc1.gelu(x), residual)


@dataclass(frozen=True)
class FastBlock:
    """A pre-norm block."""

    norm1: FastNorm
    attention: FastAttention
    norm2: FastNorm
    mlp: FastMlp

    def __call__(self, x: Tensor, images: int) -> Tensor:
        """(T, D) → (T, D)."""
        x = self.attention.added_to(x, self.norm1(x), images)
        return self.mlp.added_to(x, self.norm2(x))

    def first(self, x: Tensor, images: int) -> Tensor:
        """(T, D) → (n, D): the first token of each image."""
        cls = x.view(images, -1, x.shape[-1])[:, 0].contiguous()
        cls = self.attention.added_to_first(cls, self.norm1(x), images)
        return self.mlp.added_to(cls, self.norm2(cls))


@dataclass(frozen=True)
class FastVit:
    """Normalised images in, CLS out.

    Attributes:
        token_px: Side of a token.
        embed: Tokens' pixels (n·N, 3·token_px²) → (n·N, D).
        place: Tokens (n, N, D) → with CLS and registers before them, and positions.
        blocks: One or more.
        norm: The last one.
        dtype: Number format.
    """

    token_px: int
    embed: FastLinear
    place: Callable[[Tensor], Tensor]
    blocks: tuple[FastBlock, ...]
    norm: FastNorm
    dtype: torch.dtype

    def __call__(self, x: Tensor) -> Tensor:
        """(n, 3, h, h) → (n, D)."""
        images = len(x)
        tokens = self.embed(cut_tokens(x.to(self.dtype), self.token_px))
        x = self.place(tokens.view(images, -1, tokens.shape[-1])).to(self.dtype).flatten(0, 1)
        *earlier, last = self.blocks
        for block in earlier:
            x = block(x, images)
        return self.norm(last.first(x, images))


def cut_tokens(x: Tensor, token_px: int) -> Tensor:
    """Images (n, 3, h, h) → pixels of their tokens (n·N, 3·token_px²), row by row."""
    images, channels, height, width = x.shape
    x = x.view(images, channels, height // token_px, token_px, width // token_px, token_px)
    return x.permute(0, 2, 4, 1, 3, 5).reshape(-1, channels * token_px**2)
