"""Where the model looked: attention of the region Transformer, weights of the slide's regions.

Values of several aggregators (members of an ensemble) are averaged level by level.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from hvit_cli.attribution.blank import patch_map
from hvit_cli.heatmaps.maps import PatchMap, across_slide, check_attention_sum, check_head
from hvit_cli.models.aggregator import Aggregator, AggregatorOutput
from hvit_cli.settings import Attention
from hvit_cli.storage.features import SlideFeatures
from hvit_cli.training.bags import bag_of

Floats = npt.NDArray[np.float64]


def region_attention(
    aggregators: Sequence[Aggregator],
    features: SlideFeatures,
    attention: Attention,
    *,
    head: int | None = None,
) -> PatchMap:
    """Attention from CLS to each patch in the region Transformer's last block.

    Args:
        aggregators: At least one, in evaluation mode.
        features: The slide's features.
        attention: Which patches the model sees.
        head: The head to take; None averages them.

    Raises:
        UsageError: The model has no such head.
        ModelError: The features do not fit the model.
    """
    check_head(head, aggregators[0].settings.region_heads)
    outputs = _outputs(aggregators, features, attention)
    per_head = np.mean([_numbers(o.patch_attention[0]) for o in outputs if o.patch_attention], 0)
    prefix = np.mean([_numbers(o.prefix_attention) for o in outputs], axis=0)  # (M, H)
    value, kept = (
        array.mean(axis=1) if head is None else array[:, head] for array in (per_head, prefix)
    )
    found = patch_map(features, attention, value, within="region", unit_label="attention")
    check_attention_sum(found.value, found.region_index, kept)
    return found


def slide_weights(
    aggregators: Sequence[Aggregator], features: SlideFeatures, attention: Attention
) -> Floats:
    """(M,) weight of each region in the gated pooling, which sum to 1."""
    outputs = _outputs(aggregators, features, attention)
    weights: Floats = np.mean([_numbers(o.slide_attention) for o in outputs], axis=0)
    return weights


def slide_attention(
    aggregators: Sequence[Aggregator], features: SlideFeatures, attention: Attention
) -> PatchMap:
    """The weight of each region in the slide, at all of its patches."""
    weights = slide_weights(aggregators, features, attention)
    rows = features.region_index[features.visible(attention)]
    return patch_map(
        features,
        attention,
        weights[rows],
        within="slide",
        level="slide",
        unit_label="weight of the region",
    )


def region_slide_attention(
    aggregators: Sequence[Aggregator],
    features: SlideFeatures,
    attention: Attention,
    *,
    head: int | None = None,
) -> PatchMap:
    """Region × slide: attention to the patch times the weight of its region."""
    return across_slide(
        region_attention(aggregators, features, attention, head=head),
        slide_weights(aggregators, features, attention),
    )


@torch.inference_mode()
def _outputs(
    aggregators: Sequence[Aggregator], features: SlideFeatures, attention: Attention
) -> list[AggregatorOutput]:
    bag = bag_of(features, attention)
    return [one([bag.to(device_of(one))], with_attention=True) for one in aggregators]


def device_of(aggregator: Aggregator) -> torch.device:
    """Where an aggregator's weights lie."""
    return aggregator.region_transformer.cls_token.device


def _numbers(tensor: torch.Tensor | None) -> Floats:
    assert tensor is not None  # asked for with attention
    return np.asarray(tensor.cpu().numpy(), np.float64)
