"""Learned position embeddings and their resizing to another grid."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from hvit_cli.errors import ModelError


def grid_side(pos_embed: Tensor) -> int:
    """Side of the square grid that a position embedding (1, 1 + side², D) was learned on.

    Raises:
        ModelError: Its shape is none of a square grid with an entry for CLS.
    """
    entries = pos_embed.shape[1] - 1 if pos_embed.ndim == 3 else 0
    side = math.isqrt(max(entries, 0))
    if pos_embed.ndim != 3 or pos_embed.shape[0] != 1 or side < 1 or side**2 != entries:
        raise ModelError(
            "the position embedding is not that of CLS and a square grid",
            found=f"shape {tuple(pos_embed.shape)}",
            wanted="(1, 1 + side², width)",
        )
    return side


def resize_positions(pos_embed: Tensor, side: int) -> Tensor:
    """Resizes a position embedding to a grid of `side` × `side`, CLS untouched.

    Bicubic without antialiasing and without aligned corners, as the original and DINO do;
    timm's own resampling antialiases and differs by up to 0.03.

    Args:
        pos_embed: (1, 1 + learned², D), CLS first, then row-major.
        side: Positions along one side of the wanted grid.

    Returns:
        (1, 1 + side², D).
    """
    learned = grid_side(pos_embed)
    if learned == side:
        return pos_embed
    grid = pos_embed[:, 1:].reshape(1, learned, learned, -1).permute(0, 3, 1, 2)
    grid = F.interpolate(
        grid, size=(side, side), mode="bicubic", align_corners=False, antialias=False
    )
    return torch.cat([pos_embed[:, :1], grid.flatten(2).transpose(1, 2)], dim=1)
