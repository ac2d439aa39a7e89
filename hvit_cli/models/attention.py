"""Self-attention with a key mask, and the pre-norm block built on it.

The vocabulary is timm's (`qkv`, `proj`, `norm1`, `mlp.fc1`), so that DINO and timm state
dicts fit. What timm lacks is the last block: only CLS leaves it, so only CLS needs a query,
and its attention is what a heatmap shows. Why these blocks are written here:
`docs/decisions/own-transformer-blocks.md`.

Letters: B sequences, N tokens of a sequence (CLS first), D width, H heads.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Attention(nn.Module):
    """Multi-head self-attention in which some keys may be hidden from every query.

    Args:
        dim: Width D.
        num_heads: Heads H, a divisor of D.
    """

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.head_dim = dim // num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def _heads(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.num_heads, self.head_dim).transpose(1, 2)  # (B, H, N, D/H)

    def forward(self, x: Tensor, visible: Tensor | None = None) -> Tensor:
        """Attends from every token to the visible ones.

        Args:
            x: (B, N, D) tokens. Hidden ones must be finite: 0 · NaN is NaN.
            visible: (B, N) bool, True where a key may be attended to, at least one a row;
                None hides nothing.

        Returns:
            (B, N, D).
        """
        q, k, v = map(self._heads, self.qkv(x).chunk(3, dim=-1))
        attn_mask = None if visible is None else visible[:, None, None, :]
        x = F.scaled_dot_product_attention(q, k, v, attn_mask=attn_mask)
        out: Tensor = self.proj(x.transpose(1, 2).flatten(2))
        return out

    def forward_cls(self, x: Tensor, visible: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Attends from the first token alone, and says where it looked.

        Returns:
            (B, 1, D), equal to the first token of `forward`; and (B, H, N), its attention,
            which sums to 1 and is exactly 0 at hidden keys.
        """
        dim = x.shape[-1]
        weight, bias = self.qkv.weight, self.qkv.bias
        q = self._heads(F.linear(x[:, :1], weight[:dim], bias[:dim]))
        k, v = map(self._heads, F.linear(x, weight[dim:], bias[dim:]).chunk(2, dim=-1))
        logits = (q * self.head_dim**-0.5) @ k.transpose(-2, -1)  # (B, H, 1, N)
        if visible is not None:
            logits = logits.masked_fill(~visible[:, None, None, :], float("-inf"))
        attention = logits.softmax(dim=-1)
        x = self.proj((attention @ v).transpose(1, 2).flatten(2))
        return x, attention.squeeze(2)


class Mlp(nn.Module):
    """Two linear layers with the exact (erf) GELU between them."""

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden_dim)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(…, D) → (…, D)."""
        x = self.fc1(x)
        x = self.act(x)
        out: Tensor = self.fc2(x)
        return out


class Block(nn.Module):
    """Pre-norm Transformer block: x + attention(norm(x)), then x + mlp(norm(x)).

    Args:
        dim: Width D.
        num_heads: Heads H.
        mlp_ratio: Width of the MLP's middle over D.
    """

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float = 4.0) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, num_heads)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = Mlp(dim, round(dim * mlp_ratio))

    def forward(self, x: Tensor, visible: Tensor | None = None) -> Tensor:
        """(B, N, D) → (B, N, D); hidden keys as in `Attention`."""
        x = x + self.attn(self.norm1(x), visible)
        out: Tensor = x + self.mlp(self.norm2(x))
        return out

    def forward_cls(self, x: Tensor, visible: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(B, N, D) → the first token (B, D) of `forward`, and its attention (B, H, N).

        The other tokens' queries and MLP are not computed: in the last block nothing
        depends on them.
        """
        update, attention = self.attn.forward_cls(self.norm1(x), visible)
        cls = x[:, :1] + update
        cls = cls + self.mlp(self.norm2(cls))
        return cls.squeeze(1), attention


def run_blocks(
    blocks: nn.ModuleList, x: Tensor, visible: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Runs blocks in order, the last one for CLS only.

    Args:
        blocks: One `Block` or more.
        x: (B, N, D) tokens, CLS first.
        visible: (B, N) bool or None, as in `Attention`.

    Returns:
        CLS (B, D), not yet normalised, and its attention (B, H, N) in the last block.
    """
    *earlier, last = blocks
    for block in earlier:
        x = block(x, visible)
    assert isinstance(last, Block)
    return last.forward_cls(x, visible)


def init_linear(module: nn.Module) -> None:
    """Draws a Linear's weight as DINO does: normal, deviation 0.02, cut at ±2; bias 0."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def init_token(*shape: int) -> nn.Parameter:
    """A learned token or position embedding, drawn as `init_linear` draws weights."""
    return nn.Parameter(nn.init.trunc_normal_(torch.empty(*shape), std=0.02))
