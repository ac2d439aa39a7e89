"""The words of a figure: what the colours mean, what was hidden, what it is not for."""

from __future__ import annotations

from collections.abc import Sequence

from hvit_cli.heatmaps.maps import PatchMap
from hvit_cli.settings import HeatmapSettings

NOT_FOR_DIAGNOSIS = "Not for diagnosis."


def colour_label(settings: HeatmapSettings, heads: int) -> str:
    """What the numbers of the colour bar are.

    Args:
        settings: Scale, head, and whether regions are weighted.
        heads: Attention heads of the region Transformer.
    """
    which = f"mean of {heads} heads" if settings.head is None else f"head {settings.head}"
    if settings.combine == "region":
        what, among = "attention", "within region"
    else:
        what, among = "attention × weight of region", "across the slide"
    text = {
        "relative": f"{what}, relative {among} (1 = uniform)",
        "rank": f"{what}, rank in the slide (share of seen patches below)",
        "minmax": f"{what}, stretched between the slide's lowest and highest",
        "raw": f"{what}, raw weight {among}",
    }[settings.scale]
    return f"{text}, {which}"


def caption(maps: Sequence[PatchMap], settings: HeatmapSettings, spacing_um_level0: float) -> str:
    """What the reader cannot see: which patches were hidden, the cells' size, the limits.

    Args:
        maps: The maps of the figure's panels.
        settings: What was asked for.
        spacing_um_level0: Micrometres per level-0 pixel.
    """
    kinds = {patch_map.attention for patch_map in maps}
    said = ["Attention from CLS to each patch in the last block of the region Transformer."]
    if "masked" in kinds:
        said.append("Masked: patches without tissue were hidden from the model and have no colour.")
    if "plain" in kinds:
        said.append("Plain: the model saw every patch of its regions, glass included.")
        if settings.tissue_only:
            said.append("Glass that the model saw is hidden in this picture (--tissue-only).")
    cell_um = maps[0].patch_level0 * spacing_um_level0
    smoothed = ", smoothed within regions" if settings.smooth else ""
    said.append(f"Patches of {cell_um:.0f} µm{smoothed}.")
    said.append(f"It shows where attention went, not why a grade was given. {NOT_FOR_DIAGNOSIS}")
    return " ".join(said)
