"""A slide's patches as a map without values yet."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hvit_cli.heatmaps.maps import PatchMap, Within
from hvit_cli.settings import SIGNED_MAPS, Attention, MapKind, MapLevel
from hvit_cli.storage.features import SlideFeatures


def patch_map(
    features: SlideFeatures,
    attention: Attention,
    value: npt.NDArray[np.float64],
    *,
    within: Within,
    unit_label: str,
    level: MapLevel = "region",
    quantity: MapKind = "attention",
) -> PatchMap:
    """A raw map of the patches that a model of this attention kind sees.

    Args:
        features: The slide's features.
        attention: How the model looked.
        value: (V,) one number for each visible patch, in the order of the rows.
        within: Among which patches the values can be compared.
        unit_label: What a value is, in words.
        level: Of which level of the model.
        quantity: What the values are.

    Raises:
        ModelError: Plain attention needs every patch, and only tissue was embedded.
    """
    visible = features.visible(attention)
    whole = np.zeros(len(visible), np.float64)
    whole[visible] = value
    return PatchMap(
        slide_id=features.slide_id,
        attention=attention,
        within=within,
        region_xy_level0=features.region_xy_level0,
        region_level0=features.region_level0,
        patch_level0=features.patch_level0,
        patch_xy_level0=features.coords,
        region_index=features.region_index,
        patch_index=features.patch_index,
        tissue_fraction=features.tissue_fraction,
        background_below=features.background_below,
        visible=visible,
        value=whole,
        level=level,
        quantity=quantity,
        signed=quantity in SIGNED_MAPS,
        unit_label=unit_label,
    )
