"""Which of the seen patches a picture brings out: those above a threshold, or the foremost share.

What is not brought out was seen all the same, so the caption says what was done to it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from hvit_cli.heatmaps.maps import PatchMap
from hvit_cli.settings import HeatmapSettings


def strength(patch_map: PatchMap) -> npt.NDArray[np.float64]:
    """(P,) how much a value stands out: itself, or its size where 0 is neutral."""
    return np.abs(patch_map.value) if patch_map.signed else patch_map.value


def above(patch_map: PatchMap, threshold: float) -> npt.NDArray[np.bool_]:
    """(P,) visible patches whose strength reaches the threshold."""
    with np.errstate(invalid="ignore"):
        return np.asarray(patch_map.visible & (strength(patch_map) >= threshold))


def foremost(patch_map: PatchMap, share: float) -> npt.NDArray[np.bool_]:
    """(P,) the share of the visible patches with the largest strength, rounded up, ties included.

    Args:
        patch_map: The values.
        share: Above 0, at most 1.
    """
    seen = strength(patch_map)[patch_map.visible]
    if not len(seen):
        return np.zeros(len(patch_map.value), bool)
    # A share of n patches carries float noise: 0.1 of 30 is 3 of them and not 4.
    count = max(1, math.ceil(share * len(seen) - 1e-9))
    return above(patch_map, float(np.sort(seen)[-count]))


def brought_out(patch_map: PatchMap, settings: HeatmapSettings) -> npt.NDArray[np.bool_]:
    """(P,) the visible patches that get colours, or light, with these settings."""
    shown = patch_map.visible.copy()
    if settings.tissue_only:
        shown &= ~patch_map.background
    if settings.threshold is not None:
        shown &= above(patch_map, settings.threshold)
    if settings.highlight is not None:
        shown &= foremost(patch_map, settings.highlight)
    return shown


def emphasis_in_words(maps: Sequence[PatchMap], settings: HeatmapSettings) -> str:
    """What was done to the patches that were seen and are not brought out; "" for nothing."""
    signed = any(patch_map.signed for patch_map in maps)
    if settings.threshold is not None:
        what = "whose value is closer to 0 than" if signed else "with values below"
        kept = "keep the slide's own colours (--threshold)."
        return f"Seen patches {what} {settings.threshold:g} {kept}"
    if settings.highlight is not None:
        what = "values farthest from 0" if signed else "highest values"
        share = f"{100 * settings.highlight:.3g} %"
        return (
            f"In full light: the {share} of the seen patches with the {what}; all else is dimmed "
            "(--highlight)."
        )
    return ""
