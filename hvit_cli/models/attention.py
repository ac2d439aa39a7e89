"""Self-attention with a key mask, and the pre-norm block built on it.

The vocabulary is timm's (`qkv`, `proj`, `norm1`, `mlp.fc1`), so that DINO and timm state
dicts fit. What timm lacks is the last block: only CLS leaves it, so only CLS needs a query,
and its attention is what a heatmap shows. Why these blocks are written here:
`docs/decisions/own-transformer-blocks.md`.

Letters: B sequences, N tokens of a sequence (CLS first), T tokens of all sequences, D width,
H heads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


@dataclass(frozen=True, kw_only=True)
class Span:
    """Sequences of one length that stand together in a row of tokens.

    Attributes:
        sequences: B, their number.
        length: N, the tokens of each.
        visible: (B, N) bool, True where a key may be attended to, at least one a sequence;
            None hides nothing.
    """

    sequences: int
    length: int
    visible: Tensor | None = None

    @property
    def tokens(self) -> int:
        """Tokens of all its sequences."""
        return self.sequences * self.length

    @property
    def mask(self) -> Tensor | None:
        """(B, 1, 1, N) bool for the logits, or None."""
        return None if self.visible is None else self.visible[:, None, None, :]


class Attention(nn.Module):
    """Multi-head self-attention in which some keys may be hidden from every query.

    Tokens of all sequences stand in one row (T, D), so that projections see no padding and run
    once; only the attention itself goes span by span.

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

    def _heads(self, x: Tensor, span: Span) -> Tensor:
        """(B·N, parts·D) → (parts, B, H, N, D/H)."""
        x = x.view(span.sequences, span.length, -1, self.num_heads, self.head_dim)
        return x.permute(2, 0, 3, 1, 4)

    def forward(self, x: Tensor, spans: Sequence[Span]) -> Tensor:
        """Attends from every token to the visible ones of its sequence.

        Args:
            x: (T, D) tokens, span after span. Hidden ones must be finite: 0 · NaN is NaN.
            spans: Which rows form sequences, T tokens in all.

        Returns:
            (T, D).
        """
        parts = []
        for qkv, span in zip(_split(self.qkv(x), spans), spans, strict=True):
            q, k, v = self._heads(qkv, span).unbind(0)
            part = attend(q, k, v, span.mask)  # (B, H, N, D/H)
            parts.append(part.transpose(1, 2).reshape(span.tokens, -1))
        out: Tensor = self.proj(_join(parts))
        return out

    def weights(self, x: Tensor, span: Span) -> Tensor:
        """How much each token of each sequence attends to every other.

        Args:
            x: (B·N, D) tokens as `forward` gets them.
            span: Which rows form sequences.

        Returns:
            (B, H, N, N), rows sum to 1 and are exactly 0 at hidden keys; rows of hidden tokens
            mean nothing.
        """
        q, k, _ = self._heads(self.qkv(x), span).unbind(0)
        logits: Tensor = (q * self.head_dim**-0.5) @ k.transpose(-2, -1)
        if span.mask is not None:
            logits = logits.masked_fill(~span.mask, float("-inf"))
        return logits.softmax(dim=-1)

    def forward_cls(self, x: Tensor, spans: Sequence[Span]) -> tuple[Tensor, list[Tensor]]:
        """Attends from the first token of each sequence alone, and says where it looked.

        Returns:
            (ΣB, D), equal to the first tokens of `forward`; and for each span its attention
            (B, H, N), which sums to 1 and is exactly 0 at hidden keys.
        """
        dim = x.shape[-1]
        weight, bias = self.qkv.weight, self.qkv.bias
        queries = F.linear(first_tokens(x, spans), weight[:dim], bias[:dim])
        keys_values = F.linear(x, weight[dim:], bias[dim:])
        parts, attentions = [], []
        one = [Span(sequences=span.sequences, length=1) for span in spans]
        for q, kv, first, span in zip(
            _split(queries, one), _split(keys_values, spans), one, spans, strict=True
        ):
            (k, v), (q,) = self._heads(kv, span), self._heads(q, first)
            logits = (q * self.head_dim**-0.5) @ k.transpose(-2, -1)  # (B, H, 1, N)
            if span.mask is not None:
                logits = logits.masked_fill(~span.mask, float("-inf"))
            # What is returned is what is used, so that a gradient can be asked for by it.
            attention = logits.softmax(dim=-1).squeeze(2)  # (B, H, N)
            parts.append((attention.unsqueeze(2) @ v).flatten(1))
            attentions.append(attention)
        return self.proj(_join(parts)), attentions


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Scaled dot-product attention, by the faster of two ways to the same numbers.

    Args:
        q: (B, H, N, D/H) queries.
        k: Keys, same shape.
        v: Values, same shape.
        mask: Bool, broadcast to (B, H, N, N), True where a key may be attended to.

    Returns:
        (B, H, N, D/H).
    """
    # PyTorch's fused backward pass takes several times as long as two products on a processor
    # in bfloat16 (61 ms against 11 for 37 tokens of a ViT-S/16).
    slow = q.device.type == "cpu" and q.dtype == torch.bfloat16 and torch.is_grad_enabled()
    if not slow:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    logits = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    if mask is not None:
        logits = logits.masked_fill(~mask, float("-inf"))
    out: Tensor = logits.softmax(dim=-1) @ v
    return out


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

    Attributes:
        drop_path: How often, in training, a sequence skips the attention, and how often the
            MLP (stochastic depth); what is added to the others is scaled up to make up for it.
        checkpointing: Whether, in training, `forward` keeps its input alone and computes the
            rest again for the gradient.
    """

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float = 4.0) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, num_heads)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = Mlp(dim, round(dim * mlp_ratio))
        self.drop_path = 0.0
        self.checkpointing = False

    def forward(self, x: Tensor, spans: Sequence[Span]) -> Tensor:
        """(T, D) → (T, D); spans as in `Attention`."""
        if self.checkpointing and self.training and torch.is_grad_enabled():
            out: Tensor = checkpoint(self._forward, x, spans, use_reentrant=False)
            return out
        return self._forward(x, spans)

    def _forward(self, x: Tensor, spans: Sequence[Span]) -> Tensor:
        x = x + self._kept(self.attn(self.norm1(x), spans), spans)
        return x + self._kept(self.mlp(self.norm2(x)), spans)

    def forward_cls(self, x: Tensor, spans: Sequence[Span]) -> tuple[Tensor, list[Tensor]]:
        """(T, D) → the first token of each sequence (ΣB, D) of `forward`, and its attention.

        The other tokens' queries and MLP are not computed: in the last block nothing
        depends on them.
        """
        update, attentions = self.attn.forward_cls(self.norm1(x), spans)
        one = [Span(sequences=span.sequences, length=1) for span in spans]
        cls = first_tokens(x, spans) + self._kept(update, one)
        cls = cls + self._kept(self.mlp(self.norm2(cls)), one)
        return cls, attentions

    def _kept(self, update: Tensor, spans: Sequence[Span]) -> Tensor:
        """What is added to each token: 0 in the sequences that skip this part."""
        if not self.training or not self.drop_path:
            return update
        kept = 1 - self.drop_path
        scales = []
        for span in spans:
            drawn = update.new_empty(span.sequences, 1).bernoulli_(kept).div_(kept)
            scales.append(drawn.expand(-1, span.length).reshape(-1, 1))
        return update * _join(scales)


def run_packed(
    blocks: nn.ModuleList, x: Tensor, spans: Sequence[Span]
) -> tuple[Tensor, list[Tensor]]:
    """Runs blocks in order over tokens that stand in one row, the last one for CLS only.

    Args:
        blocks: One `Block` or more.
        x: (T, D) tokens, span after span, CLS first in each sequence.
        spans: Which rows form sequences.

    Returns:
        CLS (ΣB, D), not yet normalised, and for each span its attention (B, H, N) in the last
        block.
    """
    *earlier, last = blocks
    for block in earlier:
        x = block(x, spans)
    assert isinstance(last, Block)
    return last.forward_cls(x, spans)


def run_blocks(
    blocks: nn.ModuleList, x: Tensor, visible: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Runs blocks over sequences of one length.

    Args:
        blocks: One `Block` or more.
        x: (B, N, D) tokens, CLS first.
        visible: (B, N) bool or None, as in `Span`.

    Returns:
        CLS (B, D), not yet normalised, and its attention (B, H, N) in the last block.
    """
    span = Span(sequences=x.shape[0], length=x.shape[1], visible=visible)
    cls, (attention,) = run_packed(blocks, x.flatten(0, 1), [span])
    return cls, attention


def set_drop_path(blocks: nn.ModuleList, rate: float) -> None:
    """Lets blocks be skipped in training: never the first, `rate` of sequences the last.

    In between the rate rises evenly from block to block, as in DINO.
    """
    for number, block in enumerate(blocks):
        assert isinstance(block, Block)
        block.drop_path = rate * number / max(len(blocks) - 1, 1)


def set_checkpointing(blocks: nn.ModuleList, wanted: bool) -> None:
    """Lets blocks keep little in training and compute twice; the last, for CLS, keeps little."""
    for block in blocks:
        assert isinstance(block, Block)
        block.checkpointing = wanted


def first_tokens(x: Tensor, spans: Sequence[Span]) -> Tensor:
    """(T, D) → (ΣB, D), the first token of every sequence."""
    return _join([part[:: span.length] for part, span in zip(_split(x, spans), spans, strict=True)])


def _split(x: Tensor, spans: Sequence[Span]) -> tuple[Tensor, ...]:
    return torch.split(x, [span.tokens for span in spans])


def _join(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))


def init_linear(module: nn.Module) -> None:
    """Draws a Linear's weight as DINO does: normal, deviation 0.02, cut at ±2; bias 0."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def init_token(*shape: int) -> nn.Parameter:
    """A learned token or position embedding, drawn as `init_linear` draws weights."""
    return nn.Parameter(nn.init.trunc_normal_(torch.empty(*shape), std=0.02))
