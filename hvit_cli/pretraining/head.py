"""The projection head of DINO: from features to the outputs that teacher and student compare."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hvit_cli.models.attention import init_linear
from hvit_cli.settings import PretrainingSettings


class LastLayer(nn.Module):
    """A linear layer without bias whose weight is a length times a direction for each output.

    Entries are called as `torch.nn.utils.weight_norm` called them in DINO's snapshots.

    Args:
        dim: Width of what comes in.
        out_dim: K, outputs.
        learn_lengths: Whether the lengths are learned; they stay at 1 otherwise.
    """

    def __init__(self, dim: int, out_dim: int, *, learn_lengths: bool) -> None:
        super().__init__()
        # Only the direction counts at the start; as in the original it is nn.Linear's draw.
        self.weight_v = nn.Parameter(nn.Linear(dim, out_dim, bias=False).weight.detach())
        self.weight_g = nn.Parameter(torch.ones(out_dim, 1), requires_grad=learn_lengths)

    def forward(self, x: Tensor) -> Tensor:
        """(n, dim) → (n, K)."""
        weight = self.weight_v * (self.weight_g / self.weight_v.norm(dim=1, keepdim=True))
        return F.linear(x, weight)


class ProjectionHead(nn.Module):
    """An MLP with GELU, a unit vector of `head_bottleneck` numbers, and the last layer.

    Args:
        dim: D, width of the features.
        settings: The head's sizes.
    """

    def __init__(self, dim: int, settings: PretrainingSettings) -> None:
        super().__init__()
        middle = [settings.head_hidden] * (settings.head_layers - 1)
        widths = [dim, *middle, settings.head_bottleneck]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), nn.GELU()]
        self.mlp = nn.Sequential(*layers[:-1])
        self.apply(init_linear)
        self.last_layer = LastLayer(
            settings.head_bottleneck, settings.out_dim, learn_lengths=not settings.norm_last_layer
        )

    def forward(self, x: Tensor) -> Tensor:
        """Features (n, D) → outputs (n, K)."""
        x = self.mlp(x)
        x = F.normalize(x, dim=-1)
        out: Tensor = self.last_layer(x)
        return out
