"""From one slide's features and grading to the map of where the model looked."""

from __future__ import annotations

import numpy as np

from hvit_cli.errors import ModelError
from hvit_cli.heatmaps.maps import PatchMap, across_slide, check_attention_sum, raw_attention
from hvit_cli.settings import Attention, HeatmapSettings
from hvit_cli.steps.grade import Grading
from hvit_cli.storage.features import SlideFeatures


def attention_map(
    features: SlideFeatures, grading: Grading, attention: Attention, settings: HeatmapSettings
) -> PatchMap:
    """Raw attention to each patch of one slide, with the head and combination asked for.

    Args:
        features: What the model was given.
        grading: What it answered, with attention.
        attention: How it looked.
        settings: Which head, and whether regions are weighted.

    Raises:
        UsageError: The model has no such head.
        ModelError: The grading holds no attention.
    """
    if grading.patch_attention is None or grading.prefix_attention is None:
        raise ModelError("the model was not asked where it looked", where=features.slide_id)
    raw = raw_attention(grading.patch_attention, grading.visible, settings.head)
    prefix = grading.prefix_attention.astype(np.float64)  # (M, H)
    kept = prefix.mean(axis=1) if settings.head is None else prefix[:, settings.head]
    check_attention_sum(raw, features.region_index, kept)
    region_map = PatchMap(
        slide_id=features.slide_id,
        attention=attention,
        within="region",
        region_xy_level0=features.region_xy_level0,
        region_level0=features.region_level0,
        patch_level0=features.patch_level0,
        patch_xy_level0=features.coords,
        region_index=features.region_index,
        patch_index=features.patch_index,
        tissue_fraction=features.tissue_fraction,
        background_below=features.background_below,
        visible=grading.visible,
        value=raw,
    )
    if settings.level == "region":
        return region_map
    return across_slide(region_map, grading.slide_attention)
