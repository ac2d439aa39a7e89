"""The map that the settings ask for, of one slide by one model."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hvit_cli.attribution.levels import (
    LevelValues,
    ReadPatches,
    product_of_levels,
    token_product,
    tokens_within_patches,
)
from hvit_cli.attribution.maps import (
    contributions,
    gradient_attention,
    integrated_gradients,
    region_attention,
    rollout,
    single_patch,
    slide_attention,
)
from hvit_cli.errors import ModelError
from hvit_cli.heatmaps.maps import PatchMap
from hvit_cli.heatmaps.tokens import TokenMap
from hvit_cli.models.aggregator import Aggregator
from hvit_cli.models.encoders import PatchEncoder
from hvit_cli.settings import Attention, HeatmapSettings, MapLevel, TaskSettings
from hvit_cli.storage.features import SlideFeatures

TOKEN_LEVELS: tuple[MapLevel, ...] = ("patch", "patch×region", "patch×region×slide")
"""Levels that show the patch encoder's own attention, and therefore need pixels."""


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A model as maps need it.

    Attributes:
        aggregators: Its members, in evaluation mode.
        attention: How it looks.
        task: What its outputs mean.
        region_frozen: Whether the region Transformer kept its pretrained weights while the
            grade was learned.
        encoder: The patch encoder; None where no map of tokens is wanted.
    """

    aggregators: Sequence[Aggregator]
    attention: Attention
    task: TaskSettings
    region_frozen: bool = False
    encoder: PatchEncoder | None = None


def explain(
    model: LoadedModel,
    features: SlideFeatures,
    settings: HeatmapSettings,
    read_patches: ReadPatches | None = None,
) -> PatchMap | TokenMap:
    """Computes one raw map.

    Args:
        model: The model.
        features: The slide's features, made with the model's encoder.
        settings: Which map, level, unit, head and γ; how it is painted does not matter.
        read_patches: Gives the pixels of patches; only levels with the patch encoder need it.

    Raises:
        UsageError: The model has no such head.
        ModelError: The features do not fit, γ has nothing to weigh, the encoder has no
            attention from CLS, or pixels are needed and there are none.
    """
    given = (model.aggregators, features, model.attention)
    if settings.map == "contribution":
        return contributions(*given, model.task, unit=settings.unit)
    if settings.map == "single":
        return single_patch(*given, model.task)
    if settings.map == "gradient":
        return gradient_attention(*given, model.task, head=settings.head)
    if settings.map == "integrated":
        return integrated_gradients(*given, model.task)
    if settings.map == "rollout":
        return rollout(*given, level=settings.level)
    if settings.level == "slide":
        return slide_attention(*given)
    return _attention(model, features, settings, read_patches)


def _attention(
    model: LoadedModel,
    features: SlideFeatures,
    settings: HeatmapSettings,
    read_patches: ReadPatches | None,
) -> PatchMap | TokenMap:
    given = (model.aggregators, features, model.attention)
    # One head is of one network: of the patch encoder at level patch.
    head = None if settings.level == "patch" else settings.head
    within = region_attention(*given, head=head)
    if settings.level == "region":
        return within
    seen = within.visible
    region = LevelValues(value=within.value[seen], frozen=model.region_frozen)
    slide = LevelValues(value=slide_attention(*given).value[seen], frozen=False)
    if settings.level == "region×slide":
        value = np.zeros(len(seen))
        value[seen] = product_of_levels([region, slide], settings.gamma)
        return dataclasses.replace(
            within,
            within="slide",
            level="region×slide",
            unit_label="attention × weight of the region",
            value=value,
        )
    if read_patches is None or model.encoder is None:
        raise ModelError(
            "this map shows the patch encoder's attention, which features do not hold",
            where=features.slide_id,
            wanted="the slide itself, to read it again",
            hint="--level region, slide or region×slide, which need features alone",
        )
    tokens = tokens_within_patches(within, model.encoder, read_patches, settings.head)
    if settings.level == "patch":
        return tokens
    with_slide = slide if settings.level == "patch×region×slide" else None
    return token_product(tokens, region, with_slide, settings.gamma)
