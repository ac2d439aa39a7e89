"""Attention rollout: attention followed through all layers, not read off the last one alone.

Each block's attention (mean of its heads) is mixed evenly with the identity, for the residual
path, and the blocks' matrices are multiplied. Source: Abnar and Zuidema (2020), "Quantifying
attention flow in transformers".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from hvit_cli.attribution.attention import device_of
from hvit_cli.attribution.blank import patch_map
from hvit_cli.heatmaps.maps import PatchMap, across_slide
from hvit_cli.models.aggregator import Aggregator
from hvit_cli.models.attention import Block, Span
from hvit_cli.models.bags import Bucket, PatchBag, buckets, pack
from hvit_cli.settings import Attention, MapLevel
from hvit_cli.storage.features import SlideFeatures
from hvit_cli.training.bags import bag_of

Floats = npt.NDArray[np.float64]


def rollout(
    aggregators: Sequence[Aggregator],
    features: SlideFeatures,
    attention: Attention,
    *,
    level: MapLevel = "region",
) -> PatchMap:
    """Rollout from CLS to each patch of its region, from the score to each region, or both.

    Through the region Transformer the patches of a region share 1 less what stays with CLS and
    registers. Through the slide Transformer, from the pooling weights on, the regions share 1.

    Args:
        aggregators: At least one, in evaluation mode; averaged level by level.
        features: The slide's features.
        attention: Which patches the model sees.
        level: region, slide or region×slide.

    Raises:
        ModelError: The features do not fit the model.
    """
    bag = bag_of(features, attention)
    patches: Floats = np.zeros(len(bag.features))
    regions: Floats = np.zeros(bag.regions)
    for aggregator in aggregators:
        patch, region = _followed(aggregator, bag.to(device_of(aggregator)))
        patches += patch / len(aggregators)
        regions += region / len(aggregators)
    if level == "slide":
        return patch_map(
            features,
            attention,
            regions[bag.region_index.numpy()],
            within="slide",
            level="slide",
            quantity="rollout",
            unit_label="rollout to the region",
        )
    within_region = patch_map(
        features,
        attention,
        patches,
        within="region",
        quantity="rollout",
        unit_label="attention rollout",
    )
    return within_region if level == "region" else across_slide(within_region, regions)


@torch.inference_mode()
def _followed(aggregator: Aggregator, bag: PatchBag) -> tuple[Floats, Floats]:
    """Rollout to each row of the bag (P,) and to each region (M,)."""
    region = aggregator.region_transformer
    tokens = region.embed_patches(bag.features.to(aggregator.dtype), bag.patch_index)
    patches = tokens.new_zeros(len(tokens), dtype=torch.float64)
    embeddings = tokens.new_zeros(bag.regions, region.cls_token.shape[-1])
    norms = [block.norm1 for block in region.blocks if isinstance(block, Block)]
    for bucket in buckets(pack([bag]), aggregator.settings.side**2):
        x = tokens[bucket.rows]
        if bucket.visible is not None:
            x = torch.where(bucket.visible[..., None], x, 0)
        with _inputs(norms) as normed:
            embeddings[bucket.regions], _ = region(x, bucket.visible)
        flow = _region_flow(region.blocks, normed, bucket, region.prefix_tokens)
        seen = slice(None) if bucket.visible is None else bucket.visible
        patches[bucket.rows[seen].flatten()] = flow[:, region.prefix_tokens :][seen].flatten()
    return patches.cpu().numpy(), _slide_flow(aggregator, embeddings).cpu().numpy()


def _region_flow(
    blocks: nn.ModuleList, normed: Sequence[Tensor], bucket: Bucket, prefix: int
) -> Tensor:
    """(B, N) the row of CLS in the product of all blocks' mixed attention, float64."""
    count, length = bucket.rows.shape[0], prefix + bucket.rows.shape[1]
    visible = bucket.visible
    if visible is not None:
        visible = torch.cat([visible.new_ones(count, prefix), visible], dim=1)
    span = Span(sequences=count, length=length, visible=visible)
    flow = normed[0].new_zeros(count, 1, length, dtype=torch.float64)
    flow[..., 0] = 1
    for block, x in zip(reversed(blocks), reversed(normed), strict=True):
        assert isinstance(block, Block)
        flow = _mixed(flow, block.attn.weights(x, span).mean(dim=1))
    return flow[:, 0]


def _slide_flow(aggregator: Aggregator, embeddings: Tensor) -> Tensor:
    """(M,) the pooling weights followed back through the slide Transformer, float64."""
    layers = aggregator.slide_transformer.encoder.layers
    with _inputs(layers) as inputs:
        _, weights = aggregator.slide_transformer(embeddings[None])
    flow = weights[:, None].double()  # (1, 1, M)
    for layer, x in zip(reversed(layers), reversed(inputs), strict=True):
        assert isinstance(layer, nn.TransformerEncoderLayer)
        _, attended = layer.self_attn(x, x, x, need_weights=True, average_attn_weights=True)
        flow = _mixed(flow, attended)
    flat: Tensor = flow.flatten()
    return flat


def _mixed(flow: Tensor, attention: Tensor) -> Tensor:
    """One layer down: half by attention, half by the residual path."""
    return 0.5 * (flow @ attention.double()) + 0.5 * flow


@contextmanager
def _inputs(modules: Iterable[nn.Module]) -> Iterator[list[Tensor]]:
    """What goes into each layer while the context is open, in the order of the calls.

    For a layer norm that is what comes out of it: the input of the attention behind it.
    """
    kept: list[Tensor] = []

    def keep_output(module: nn.Module, _: object, output: Tensor) -> None:
        if isinstance(module, nn.LayerNorm):
            kept.append(output)

    def keep_input(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        if not isinstance(module, nn.LayerNorm):
            kept.append(arguments[0])

    hooks = []
    for module in modules:
        hooks.append(module.register_forward_hook(keep_output))
        hooks.append(module.register_forward_pre_hook(keep_input))
    try:
        yield kept
    finally:
        for hook in hooks:
            hook.remove()
