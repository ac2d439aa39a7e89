"""Maps from gradients of the score: gradient × attention, and integrated gradients.

Both are signed: above 0, the patch raises the score. Dropout is off; nothing is learned.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from hvit_cli.attribution.attention import device_of
from hvit_cli.attribution.blank import patch_map
from hvit_cli.heatmaps.maps import PatchMap, check_head
from hvit_cli.models.aggregator import Aggregator
from hvit_cli.models.attention import Block
from hvit_cli.models.bags import Bucket, PatchBag, buckets, pack
from hvit_cli.models.region import RegionTransformer
from hvit_cli.settings import Attention, TaskSettings
from hvit_cli.storage.features import SlideFeatures
from hvit_cli.training.bags import bag_of
from hvit_cli.training.objectives import score_of

Floats = npt.NDArray[np.float64]

# Gauss-Legendre points of the path from 0 to the features.
PATH_POINTS = 32


def gradient_attention(
    aggregators: Sequence[Aggregator],
    features: SlideFeatures,
    attention: Attention,
    task: TaskSettings,
    *,
    head: int | None = None,
) -> PatchMap:
    """Attention from CLS in the last block × the gradient of the score with respect to it.

    That is, to first order, what the score owes to this weight: the sign is kept, heads are
    added. Source: the product is that of Chefer, Gur and Wolf (2021), who drop negative values.

    Args:
        aggregators: At least one, in evaluation mode; averaged.
        features: The slide's features.
        attention: Which patches the model sees.
        task: What the outputs mean.
        head: The head to take; None adds all.

    Raises:
        UsageError: The model has no such head.
        ModelError: The features do not fit the model.
    """
    check_head(head, aggregators[0].settings.region_heads)
    bag = bag_of(features, attention)
    found = [_gradient_attention(one, bag.to(device_of(one)), task) for one in aggregators]
    per_head = np.mean(found, axis=0)  # (P, H)
    return patch_map(
        features,
        attention,
        per_head.sum(axis=1) if head is None else per_head[:, head],
        within="slide",
        quantity="gradient",
        unit_label="gradient × attention, grade points",
    )


def integrated_gradients(
    aggregators: Sequence[Aggregator],
    features: SlideFeatures,
    attention: Attention,
    task: TaskSettings,
    *,
    points: int = PATH_POINTS,
) -> PatchMap:
    """Gradient of the score with respect to a patch's features, along the way from 0 to them.

    The values add up to the score less the score of the same patches with features of 0.
    Source: Sundararajan, Taly and Yan (2017).

    Args:
        aggregators: At least one, in evaluation mode; averaged.
        features: The slide's features.
        attention: Which patches the model sees.
        task: What the outputs mean.
        points: Points of the path at which the gradient is taken.

    Raises:
        ModelError: The features do not fit the model.
    """
    bag = bag_of(features, attention)
    found = [_integrated(one, bag.to(device_of(one)), task, points) for one in aggregators]
    return patch_map(
        features,
        attention,
        np.mean(found, axis=0),
        within="slide",
        quantity="integrated",
        unit_label="integrated gradients, grade points",
    )


def _gradient_attention(aggregator: Aggregator, bag: PatchBag, task: TaskSettings) -> Floats:
    """(P, H) attention × gradient for each row."""
    region = aggregator.region_transformer
    values = bag.features.to(aggregator.dtype)
    embeddings = values.new_zeros(bag.regions, region.cls_token.shape[-1])
    attended: list[tuple[Bucket, Tensor]] = []
    last = region.blocks[-1]
    assert isinstance(last, Block)
    with _frozen(aggregator), _gradient_from(last.norm1), torch.enable_grad():
        for bucket in buckets(pack([bag]), aggregator.settings.side**2):
            embedded, weights = region(_tokens(region, values, bag, bucket), bucket.visible)
            embeddings = embeddings.index_copy(0, bucket.regions, embedded)
            attended.append((bucket, weights))
        output, _ = aggregator.slide_transformer(embeddings[None])
        gradients = torch.autograd.grad(
            score_of(output, task).sum(), [weights for _, weights in attended]
        )
    product = values.new_zeros(len(values), last.attn.num_heads)
    for (bucket, weights), gradient in zip(attended, gradients, strict=True):
        per_row = (weights * gradient).detach()[..., region.prefix_tokens :].transpose(1, 2)
        seen = slice(None) if bucket.visible is None else bucket.visible
        product[bucket.rows[seen].reshape(-1)] = per_row[seen].reshape(-1, product.shape[1])
    return np.asarray(product.cpu().numpy(), np.float64)


def _integrated(aggregator: Aggregator, bag: PatchBag, task: TaskSettings, points: int) -> Floats:
    """(P,) integrated gradients of each row's features, added over the features."""
    features = bag.features.to(aggregator.dtype)
    place, weight = np.polynomial.legendre.leggauss(points)
    total = torch.zeros_like(features, dtype=torch.float64)
    with _frozen(aggregator):
        for share, part in zip((place + 1) / 2, weight / 2, strict=True):
            total += part * _feature_gradient(aggregator, bag, share * features, task)
    return np.asarray((total * features).sum(dim=1).cpu().numpy(), np.float64)


def _feature_gradient(
    aggregator: Aggregator, bag: PatchBag, features: Tensor, task: TaskSettings
) -> Tensor:
    """(P, D) gradient of the score with respect to features, a bucket of regions at a time."""
    region = aggregator.region_transformer
    found = list(buckets(pack([bag]), aggregator.settings.side**2))
    with torch.no_grad():
        embeddings = features.new_zeros(bag.regions, region.cls_token.shape[-1])
        for bucket in found:
            embeddings[bucket.regions], _ = region(
                _tokens(region, features, bag, bucket), bucket.visible
            )
    with torch.enable_grad():
        embeddings.requires_grad_()
        output, _ = aggregator.slide_transformer(embeddings[None])
        (of_region,) = torch.autograd.grad(score_of(output, task).sum(), embeddings)
        gradient = torch.zeros_like(features)
        for bucket in found:
            leaf = features.detach().clone().requires_grad_()
            embedded, _ = region(_tokens(region, leaf, bag, bucket), bucket.visible)
            gradient += torch.autograd.grad(embedded, leaf, of_region[bucket.regions])[0]
    return gradient


def _tokens(region: RegionTransformer, features: Tensor, bag: PatchBag, bucket: Bucket) -> Tensor:
    """(B, L, C) tokens of a bucket, 0 at padding."""
    x = region.embed_patches(features[bucket.rows], bag.patch_index[bucket.rows])
    return x if bucket.visible is None else torch.where(bucket.visible[..., None], x, 0)


@contextmanager
def _frozen(network: nn.Module) -> Iterator[None]:
    """Asks no gradient of the weights, so that none of the way to them is kept."""
    wanted = [(parameter, parameter.requires_grad) for parameter in network.parameters()]
    network.requires_grad_(False)
    try:
        yield
    finally:
        for parameter, before in wanted:
            parameter.requires_grad_(before)


@contextmanager
def _gradient_from(norm: nn.Module) -> Iterator[None]:
    """Lets gradients begin behind a layer: what lies before it keeps nothing."""
    hook = norm.register_forward_hook(lambda _m, _i, output: output.detach().requires_grad_())
    try:
        yield
    finally:
        hook.remove()
