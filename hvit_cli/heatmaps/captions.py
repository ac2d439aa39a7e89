"""The words of a figure: what the colours mean, what was hidden, what it is not for."""

from __future__ import annotations

from collections.abc import Sequence

from hvit_cli.heatmaps.maps import PatchMap
from hvit_cli.settings import GRADE_MAPS, HeatmapSettings

NOT_FOR_DIAGNOSIS = "Not for diagnosis."

# What is shared out at each level, and among what.
_SHARES = {
    "region": ("attention", "within region"),
    "slide": ("attention to the region", "across the slide"),
    "patch": ("attention to the token", "within patch"),
    "region×slide": ("attention × weight of region", "across the slide"),
    "patch×region": ("attention, patch × region", "within region"),
    "patch×region×slide": ("attention, patch × region × slide", "across the slide"),
}
_UNITS = {
    "patch": "patch",
    "block": "block of 3×3 patches",
    "region": "region",
    "component": "piece of tissue",
}


def colour_label(settings: HeatmapSettings, heads: int) -> str:
    """What the numbers of the colour bar are.

    Args:
        settings: Map, level, scale and head.
        heads: Attention heads of the region Transformer.
    """
    if settings.map in GRADE_MAPS:
        return _grade_points(settings)
    which = f"mean of {heads} heads" if settings.head is None else f"head {settings.head}"
    what, among = _SHARES[settings.level]
    if settings.map == "rollout":
        what, which = what.replace("attention", "attention rollout"), "mean of heads"
    if settings.level == "slide":
        which = ""
    elif "patch" in settings.level and settings.head is None:
        which = "mean of heads"
    if settings.gamma is not None:
        which = f"{which}, γ {settings.gamma:g}"
    text = {
        "relative": f"{what}, relative {among} (1 = uniform)",
        "rank": f"{what}, rank in the slide (share of seen patches below)",
        "minmax": f"{what}, stretched between the slide's lowest and highest",
        "raw": f"{what}, raw weight {among}",
    }[settings.shown_scale]
    return f"{text}, {which}" if which else text


def _grade_points(settings: HeatmapSettings) -> str:
    what = {
        "contribution": f"change of the score by this {_UNITS[settings.unit]}",
        "single": "score of a slide with this patch alone",
        "gradient": "gradient × attention",
        "integrated": "integrated gradients",
    }
    text = what.get(settings.map, settings.map)
    return {
        "raw": f"{text}, grade points",
        "rank": f"{text}, rank in the slide (share of seen patches below)",
        "minmax": f"{text}, stretched between the slide's lowest and highest",
    }[settings.shown_scale]


def caption(maps: Sequence[PatchMap], settings: HeatmapSettings, spacing_um_level0: float) -> str:
    """What the reader cannot see: which patches were hidden, the cells' size, the limits.

    Args:
        maps: The maps of the figure's panels.
        settings: What was asked for.
        spacing_um_level0: Micrometres per level-0 pixel.
    """
    kinds = {patch_map.attention for patch_map in maps}
    said = [_what(settings)]
    if "masked" in kinds:
        said.append("Masked: patches without tissue were hidden from the model and have no colour.")
    if "plain" in kinds:
        said.append("Plain: the model saw every patch of its regions, glass included.")
        if settings.tissue_only:
            said.append("Glass that the model saw is hidden in this picture (--tissue-only).")
    cell_um = maps[0].patch_level0 * spacing_um_level0
    smoothed = ", smoothed within regions" if settings.smooth else ""
    if maps[0].grids > 1:
        several = f"each the mean of those of {maps[0].grids} shifted grids that saw it"
        said.append(f"Cells of {cell_um:.0f} µm, {several}{smoothed}.")
    else:
        cells = "Tokens" if "patch" in settings.level else "Patches"
        said.append(f"{cells} of {cell_um:.0f} µm{smoothed}.")
    if settings.map not in GRADE_MAPS:
        said.append("It shows where attention went, not why a grade was given.")
    return " ".join((*said, NOT_FOR_DIAGNOSIS))


def _what(settings: HeatmapSettings) -> str:
    """One sentence on how the numbers came about."""
    if settings.map == "rollout":
        return (
            "Attention followed through all blocks of "
            + {
                "region": "the region Transformer",
                "slide": "the slide Transformer, from the pooling on",
            }.get(settings.level, "both Transformers")
            + " (rollout)."
        )
    by_map = {
        "contribution": "Score with everything less the score when this "
        f"{_UNITS[settings.unit]} is left out: above 0 it raises the score.",
        "single": "Score of a slide that holds this patch alone.",
        "gradient": "Attention in the last block of the region Transformer × the gradient of the "
        "score with respect to it: above 0 it raises the score, to first order.",
        "integrated": "Gradient of the score with respect to the patch's features, along the way "
        "from 0 to them: above 0 the patch raises the score.",
    }
    if settings.map in by_map:
        return by_map[settings.map]
    in_region = "from CLS to each patch in the last block of the region Transformer"
    in_patch = "from CLS to each token in the last block of the patch encoder"
    weight = "the weight of the region in the slide"
    return {
        "region": f"Attention {in_region}.",
        "slide": "Weight of each region in the pooling of the slide, at all of its patches.",
        "patch": f"Attention {in_patch}.",
        "region×slide": f"Attention {in_region}, × {weight}.",
        "patch×region": f"Attention {in_patch}, × attention {in_region}.",
        "patch×region×slide": f"Attention {in_patch}, × attention {in_region}, × {weight}.",
    }[settings.level]
