"""The region Transformer: the patches of a region become one region embedding."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hvit_cli.models.attention import Block, Span, init_linear, init_token, run_packed
from hvit_cli.models.position import resize_positions
from hvit_cli.settings import AggregatorSettings


class RegionTransformer(nn.Module):
    """Projects patch features, adds positions, and reads CLS after pre-norm blocks.

    A sequence is CLS, then registers (no position, never hidden), then patches. Any number of
    patches in any order may follow, because each brings its own position: leaving a patch out
    equals hiding it from every layer.

    Letters: B sequences, L patches of a sequence, R registers, K patches of a full region,
    D width of the patch features, C region width, H heads.
    """

    def __init__(self, settings: AggregatorSettings) -> None:
        super().__init__()
        dim = settings.region_dim
        self.side = settings.side
        self.project = nn.Linear(settings.patch_dim, dim)
        self.act = nn.GELU()
        self.cls_token = init_token(1, 1, dim)
        self.register_tokens = (
            init_token(1, settings.registers, dim) if settings.registers else None
        )
        self.pos_embed = init_token(1, 1 + settings.position_side**2, dim)
        self.blocks = nn.ModuleList(
            Block(dim, settings.region_heads) for _ in range(settings.region_depth)
        )
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.apply(init_linear)

    @property
    def prefix_tokens(self) -> int:
        """Tokens before the patches: CLS and the registers."""
        return 1 if self.register_tokens is None else 1 + self.register_tokens.shape[1]

    def embed_patches(
        self, features: Tensor, patch_index: Tensor, side: int | None = None
    ) -> Tensor:
        """Turns patch features into tokens.

        Args:
            features: (…, D).
            patch_index: (…) long, position of each patch in its region, 0 … K-1.
            side: Patches along one side of a part of a region, within which `patch_index`
                counts; None means a whole region.

        Returns:
            (…, C), the projected features plus their positions.
        """
        positions = resize_positions(self.pos_embed, self.side if side is None else side)[0, 1:]
        x: Tensor = self.project(features)
        x = self.act(x)
        return x + positions[patch_index]

    def forward(self, x: Tensor, visible: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Reads regions off their patch tokens.

        Args:
            x: (B, L, C) from `embed_patches`; hidden tokens must be finite. L may be 0.
            visible: (B, L) bool, False where a token is background or padding; None hides
                nothing.

        Returns:
            Region embeddings (B, C), and the last block's attention from CLS (B, H, 1 + R + L)
            to CLS, registers and patches.
        """
        cls, (attention,) = self.forward_packed([x], [visible])
        return cls, attention

    def forward_packed(
        self, x: Sequence[Tensor], visible: Sequence[Tensor | None]
    ) -> tuple[Tensor, list[Tensor]]:
        """Reads regions of different length together.

        Args:
            x: (B, L, C) for each length L, as in `forward`.
            visible: (B, L) or None for each.

        Returns:
            Region embeddings (ΣB, C), and for each length the attention (B, H, 1 + R + L).
        """
        prefix = [self.cls_token + self.pos_embed[:, :1]]
        if self.register_tokens is not None:
            prefix.append(self.register_tokens)
        rows, spans = [], []
        for tokens, seen in zip(x, visible, strict=True):
            count, length = len(tokens), self.prefix_tokens + tokens.shape[1]
            whole = torch.cat([*(token.expand(count, -1, -1) for token in prefix), tokens], dim=1)
            if seen is not None:
                seen = torch.cat([seen.new_ones(count, self.prefix_tokens), seen], dim=1)
            rows.append(whole.flatten(0, 1))
            spans.append(Span(sequences=count, length=length, visible=seen))
        cls, attentions = run_packed(self.blocks, torch.cat(rows), spans)
        cls = self.norm(cls)
        return cls, attentions
