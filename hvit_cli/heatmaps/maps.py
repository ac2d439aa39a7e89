"""One number per patch, and on which scale: raw, relative, rank or minmax.

Letters: M regions of a slide, K patches of a region, P rows (patches that have one), H heads.
Everything here is numpy arrays in and out; where the numbers came from is not asked.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from hvit_cli.errors import UsageError
from hvit_cli.settings import GRADE_MAPS, Attention, MapKind, MapLevel, Scale

Within = Literal["region", "slide"]

# Float32 softmax weights that should add up to 1 may miss it by about this much.
_SUM_TOLERANCE = 1e-3
# Two relative values closer than this differ by float noise alone and share one rank.
SAME_DECIMALS = 6


@dataclass(frozen=True, kw_only=True)
class PatchMap:
    """One number for each patch of a slide that has one, and where the patches lie.

    Rows are sparse: a patch without a row was neither read nor seen.

    Attributes:
        slide_id: The slide.
        attention: How the model looked: masked or plain.
        within: Among which patches the values can be compared, those of a region or all.
        level: Of which level of the model, or product of levels. At level slide all patches of
            a region hold the region's value.
        quantity: What the values are.
        signed: Whether 0 is neutral: a value says by how much the score rises or falls.
        unit_label: What a raw value is, in words for a colour bar.
        grids: How many shifted grids the values are the mean of; with several, rows are cells
            smaller than a patch.
        region_xy_level0: (M, 2) int64 top-left corners of the regions.
        region_level0: Side of a region in level-0 pixels, not rounded.
        patch_level0: Side of a patch in level-0 pixels, not rounded.
        patch_xy_level0: (P, 2) int64 top-left corners of the patches, as stored.
        region_index: (P,) int64, the region of each patch.
        patch_index: (P,) int64, row · side + column inside the region.
        tissue_fraction: (P,) float32.
        background_below: Patches with at most this tissue fraction are background.
        visible: (P,) bool, what the model was allowed to attend to.
        value: (P,) float64. Of no meaning where not visible: 0 in raw maps, NaN in scaled.
    """

    slide_id: str
    attention: Attention
    within: Within
    region_xy_level0: npt.NDArray[np.int64]
    region_level0: float
    patch_level0: float
    patch_xy_level0: npt.NDArray[np.int64]
    region_index: npt.NDArray[np.int64]
    patch_index: npt.NDArray[np.int64]
    tissue_fraction: npt.NDArray[np.float32]
    background_below: float
    visible: npt.NDArray[np.bool_]
    value: npt.NDArray[np.float64]
    level: MapLevel = "region"
    quantity: MapKind = "attention"
    signed: bool = False
    unit_label: str = "attention"
    grids: int = 1

    def __post_init__(self) -> None:
        rows = len(self.patch_xy_level0)
        for name in ("region_index", "patch_index", "tissue_fraction", "visible", "value"):
            if getattr(self, name).shape != (rows,):
                raise ValueError(f"{name} must have {rows} entries, one for each patch")
        if rows and not (
            self.region_index.min() >= 0 and self.region_index.max() < len(self.region_xy_level0)
        ):
            raise ValueError("region_index points outside the regions")
        if rows and not (self.patch_index.min() >= 0 and self.patch_index.max() < self.side**2):
            raise ValueError("patch_index points outside the region")
        if not np.isfinite(self.value[self.visible]).all():
            raise ValueError("a visible patch has no finite value")

    @property
    def side(self) -> int:
        """Patches along one side of a region."""
        return round(self.region_level0 / self.patch_level0)

    @property
    def background(self) -> npt.NDArray[np.bool_]:
        """(P,) True for patches that count as glass."""
        return self.tissue_fraction <= self.background_below


def check_head(head: int | None, heads: int, network: str = "region Transformer") -> None:
    """Refuses an attention head that a network does not have.

    Raises:
        UsageError: The head is out of range.
    """
    if head is not None and not 0 <= head < heads:
        raise UsageError(
            f"the {network} has no such attention head",
            where="--head",
            found=head,
            wanted=f"0 to {heads - 1}",
        )


def check_attention_sum(
    raw: npt.NDArray[np.float64],
    region_index: npt.NDArray[np.int64],
    kept: npt.NDArray[np.float64],
) -> None:
    """Checks that patches, CLS and registers of every region share all of its attention.

    Args:
        raw: (P,) attention to each patch.
        region_index: (P,) the region of each patch.
        kept: (M,) what CLS and registers keep, of the same head or mean of heads.
    """
    total = np.bincount(region_index, weights=raw, minlength=len(kept)) + kept
    if not np.allclose(total, 1, rtol=0, atol=_SUM_TOLERANCE):
        worst = int(np.argmax(np.abs(total - 1)))
        raise ValueError(f"the attention of region {worst} adds up to {total[worst]:.6g}, not 1")


def across_slide(region_map: PatchMap, slide_attention: npt.NDArray[np.floating]) -> PatchMap:
    """Region × slide: each patch's raw attention times its region's share of the slide.

    Args:
        region_map: Raw attention within regions.
        slide_attention: (M,) pooling weights of the regions, which sum to 1.
    """
    weight = np.asarray(slide_attention, np.float64)
    if weight.shape != (len(region_map.region_xy_level0),):
        raise ValueError(f"slide attention of shape {weight.shape}")
    value = region_map.value * weight[region_map.region_index]
    return dataclasses.replace(region_map, within="slide", level="region×slide", value=value)


def relative(raw: PatchMap) -> npt.NDArray[np.float64]:
    """(P,) attention as a multiple of what uniform attention would give; NaN where not visible.

    Within a region: attention × visible patches of the region ÷ (1 − what CLS and registers
    keep). The divisor is computed as the sum over the visible patches, which is the same number
    without the cancellation. Within a slide (region × slide) the slide takes the region's place.
    At level slide it is the region's weight × the number of regions.

    Raises:
        ValueError: The map is signed, so that its values are no shares of anything.
    """
    if raw.signed:
        raise ValueError(f"{raw.quantity} is signed and has no relative scale")
    if raw.level == "slide":
        return np.where(raw.visible, raw.value * len(raw.region_xy_level0), np.nan)
    group = raw.region_index if raw.within == "region" else np.zeros_like(raw.region_index)
    group, value = group[raw.visible], raw.value[raw.visible]
    groups = len(raw.region_xy_level0) + 1
    patches = np.bincount(group, minlength=groups)[group]
    total = np.bincount(group, weights=value, minlength=groups)[group]
    scaled = np.full(len(raw.value), np.nan)
    # Patches that share no attention at all share it evenly.
    scaled[raw.visible] = np.divide(
        value * patches, total, out=np.ones_like(value), where=total > 0
    )
    return scaled


def rank(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The share of values strictly below each one: 0 to below 1, and 0 for a constant."""
    if not len(values):
        return np.zeros(0)
    return np.searchsorted(np.sort(values), values, side="left") / len(values)


def minmax(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Values stretched to 0-1; 0 for a constant."""
    if not len(values):
        return np.zeros(0)
    low, high = values.min(), values.max()
    return np.zeros_like(values) if low == high else (values - low) / (high - low)


def rescale(raw: PatchMap, scale: Scale) -> PatchMap:
    """The map on another scale, NaN where the model could not see.

    `rank` and `minmax` order the slide's visible patches by their *relative* attention: raw
    weights are larger wherever a region has fewer visible patches, whatever the model thinks.
    Values in grade points are ordered as they are.

    Raises:
        ValueError: A signed map on another scale than raw, or grade points on the relative one.
    """
    seen_raw = np.where(raw.visible, raw.value, np.nan)
    if scale == "raw":
        return dataclasses.replace(raw, value=seen_raw)
    if raw.quantity in GRADE_MAPS and (raw.signed or scale == "relative"):
        raise ValueError(f"{raw.quantity} has no {scale} scale")
    value = seen_raw if raw.quantity in GRADE_MAPS else relative(raw)
    if scale != "relative":
        seen = value[raw.visible].round(SAME_DECIMALS)
        value[raw.visible] = rank(seen) if scale == "rank" else minmax(seen)
    return dataclasses.replace(raw, value=value)
