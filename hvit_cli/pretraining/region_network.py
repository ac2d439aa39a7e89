"""The region Transformer as a network that reads crops of regions."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hvit_cli.models.region import RegionTransformer
from hvit_cli.pretraining.networks import Backbones, pair_of
from hvit_cli.pretraining.region_crops import RegionViews
from hvit_cli.pretraining.region_source import RegionSource
from hvit_cli.settings import AggregatorSettings, PretrainingSettings


class RegionBackbone(nn.Module):
    """Crops of regions → features, with positions resized to the grid of each crop.

    Args:
        sizes: Sizes of the region Transformer.
    """

    def __init__(self, sizes: AggregatorSettings) -> None:
        super().__init__()
        self.sizes = sizes
        self.network = RegionTransformer(sizes)

    def forward(self, views: RegionViews) -> Tensor:
        """(n, C), the embedding of each crop."""
        region = self.network
        features = views.features.to(region.cls_token.dtype)
        tokens = region.embed_patches(features, views.patch_index, views.side)
        embeddings: Tensor = region(tokens, views.visible)[0]
        return embeddings


def region_sizes(settings: PretrainingSettings, source: RegionSource) -> AggregatorSettings:
    """Sizes of the region Transformer: what is asked for, and what the features dictate."""
    header = source.grids.header
    return AggregatorSettings(
        patch_dim=header.width,
        region_px=header.region_px,
        patch_px=header.patch_px,
        region_dim=settings.width,
        region_depth=settings.depth,
        region_heads=settings.heads,
    )


def region_backbone(settings: PretrainingSettings, source: RegionSource) -> RegionBackbone:
    """A region Transformer with fresh weights, a function of the seed alone.

    Args:
        settings: Width, depth, heads and seed.
        source: The regions that it will read.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        return RegionBackbone(region_sizes(settings, source))


def region_backbones(settings: PretrainingSettings, source: RegionSource) -> Backbones:
    """Student and teacher of the region level."""
    return pair_of(region_backbone(settings, source), settings, width=settings.width)
