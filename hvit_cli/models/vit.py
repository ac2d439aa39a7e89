"""A plain Vision Transformer as DINO trains it: the patch encoder of local weight files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hvit_cli.errors import CheckpointError, ModelError
from hvit_cli.models.attention import Block, init_linear, init_token, run_blocks
from hvit_cli.models.position import grid_side, resize_positions

# Every published DINO network has heads of this width; weights alone do not show it.
_HEAD_WIDTH = 64


@dataclass(frozen=True, kw_only=True)
class VitShape:
    """The sizes of a Vision Transformer.

    Attributes:
        width: Width D of its tokens and of what it returns.
        depth: Blocks.
        heads: Attention heads, a divisor of the width.
        token_px: Side of a token in pixels.
        grid_side: Side of the learned position grid.
        mlp_ratio: Width of the MLP's middle over the width.
    """

    width: int = 384
    depth: int = 12
    heads: int = 6
    token_px: int = 16
    grid_side: int = 14
    mlp_ratio: float = 4.0

    def __post_init__(self) -> None:
        sizes = (self.width, self.depth, self.heads, self.token_px, self.grid_side)
        if not all(isinstance(size, int) and size >= 1 for size in sizes) or self.mlp_ratio <= 0:
            raise ModelError("a Vision Transformer cannot have these sizes", found=self)
        if self.width % self.heads:
            raise ModelError(
                "the heads of the Vision Transformer must divide its width",
                found=f"width {self.width}, {self.heads} heads",
            )

    @property
    def input_px(self) -> int:
        """Side of the images on which the position grid was learned."""
        return self.grid_side * self.token_px


class PatchEmbed(nn.Module):
    """Cuts an image into square tokens and projects each."""

    def __init__(self, token_px: int, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, kernel_size=token_px, stride=token_px)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3, h, h) → (n, N, D), tokens in row-major order."""
        x = self.proj(x)
        return x.flatten(2).transpose(1, 2)


class VisionTransformer(nn.Module):
    """Embeds images of any size that is a multiple of the token, and reads CLS.

    Entries are called as in DINO's state dicts. Positions are resized as DINO resizes them
    (bicubic, not antialiased). The last block is computed for CLS alone.

    Letters: n images, N tokens of an image, D width, H heads.
    """

    def __init__(self, shape: VitShape) -> None:
        super().__init__()
        self.shape = shape
        self.patch_embed = PatchEmbed(shape.token_px, shape.width)
        self.cls_token = init_token(1, 1, shape.width)
        self.pos_embed = init_token(1, 1 + shape.grid_side**2, shape.width)
        self.blocks = nn.ModuleList(
            Block(shape.width, shape.heads, shape.mlp_ratio) for _ in range(shape.depth)
        )
        self.norm = nn.LayerNorm(shape.width, eps=1e-6)
        self.apply(init_linear)

    def forward(self, x: Tensor, visible: Tensor | None = None) -> Tensor:
        """Normalised images (n, 3, h, h) → (n, D); see `forward_attention`."""
        return self.forward_attention(x, visible)[0]

    def forward_attention(self, x: Tensor, visible: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Embeds images and says where CLS looked.

        Args:
            x: (n, 3, h, h) normalised pixels.
            visible: (n, N) bool, False at tokens no layer may see; their pixels are never
                used, NaN included. None shows all.

        Returns:
            (n, D), and the last block's attention from CLS (n, H, 1 + N), CLS first.

        Raises:
            ModelError: The images are not square multiples of the token.
        """
        side, rest = divmod(x.shape[-1], self.shape.token_px)
        if x.shape[-1] != x.shape[-2] or rest or not side:
            raise ModelError(
                "the encoder cannot cut the patches into tokens",
                found=f"{x.shape[-1]}×{x.shape[-2]} px",
                wanted=f"squares of a multiple of {self.shape.token_px} px",
            )
        positions = resize_positions(self.pos_embed, side)
        x = self.patch_embed(x)
        if visible is not None:
            x = torch.where(visible[..., None], x, 0)
            visible = torch.cat([visible.new_ones(len(visible), 1), visible], dim=1)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1)
        x = x + positions
        cls, attention = run_blocks(self.blocks, x, visible)
        cls = self.norm(cls)
        return cls, attention


def infer_vit_shape(
    state: Mapping[str, Tensor], *, heads: int | None = None, where: object = "state dict"
) -> VitShape:
    """Reads the sizes of a Vision Transformer off its weights.

    Args:
        state: Name → tensor, wrappers' prefixes stripped.
        heads: Attention heads; None assumes heads of width 64, as DINO's have.
        where: What to call the source in an error.

    Raises:
        CheckpointError: The entries are not those of a plain Vision Transformer.
        ModelError: The heads do not divide the width.
    """
    needed = ("cls_token", "pos_embed", "patch_embed.proj.weight", "blocks.0.mlp.fc1.weight")
    absent = [name for name in needed if name not in state]
    if absent:
        raise CheckpointError(
            "these are not the weights of a plain Vision Transformer",
            where=where,
            found=f"missing: {', '.join(absent)}",
            hint="a timm name, or a folder with timm's config.json",
        )
    kernel, middle = state["patch_embed.proj.weight"], state["blocks.0.mlp.fc1.weight"]
    if kernel.ndim != 4 or middle.ndim != 2:
        raise CheckpointError(
            "these are not the weights of a plain Vision Transformer",
            where=where,
            found=f"patch_embed.proj.weight {tuple(kernel.shape)}, "
            f"blocks.0.mlp.fc1.weight {tuple(middle.shape)}",
        )
    width = kernel.shape[0]
    if heads is None and width % _HEAD_WIDTH:
        raise ModelError(
            "the number of attention heads cannot be told from the weights",
            where=where,
            found=f"width {width}",
            wanted=f"a multiple of {_HEAD_WIDTH}, or a folder whose encoder.json names the heads",
        )
    numbers = (re.match(r"blocks\.(\d+)\.", name) for name in state)
    return VitShape(
        width=width,
        depth=1 + max(int(number[1]) for number in numbers if number),
        heads=heads or width // _HEAD_WIDTH,
        token_px=kernel.shape[-1],
        grid_side=grid_side(state["pos_embed"]),
        mlp_ratio=middle.shape[0] / width,
    )
