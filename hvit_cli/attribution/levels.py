"""Products of levels: patch × region, patch × region × slide, and the weight γ between them.

Source of γ: the published implementation by Grisi and others, in which a level that was frozen
while the grade was learned counts with 1 − γ, and one that was fine-tuned with γ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from hvit_cli.errors import ModelError
from hvit_cli.heatmaps.maps import PatchMap, Within, check_head
from hvit_cli.heatmaps.tokens import TokenMap, TokensWithin, token_map
from hvit_cli.models.encoders import PatchEncoder
from hvit_cli.models.token_attention import require_token_attention, token_attention
from hvit_cli.settings import MapLevel

Floats = npt.NDArray[np.float64]
ReadPatches = Callable[[npt.NDArray[np.bool_]], Iterable[npt.NDArray[np.uint8]]]
"""Visible rows (P,) → their pixels in the order of the rows, (n, h, h, 3) at a time."""


@dataclass(frozen=True, kw_only=True)
class LevelValues:
    """What one level of the model gives to each visible patch or token.

    Attributes:
        value: (V,) or (V, T²), not negative.
        frozen: Whether this level kept its pretrained weights while the grade was learned.
    """

    value: Floats
    frozen: bool


def product_of_levels(levels: Sequence[LevelValues], gamma: float | None) -> Floats:
    """The levels' values multiplied; with γ, each first raised to its weight.

    Args:
        levels: At least one; values of patches are repeated over their tokens.
        gamma: The power of fine-tuned levels; frozen ones get 1 − γ. None: 1 for all.

    Raises:
        ModelError: With γ: the levels are all frozen or all fine-tuned.
    """
    if gamma is not None and len({level.frozen for level in levels}) < 2:
        raise ModelError(
            "γ weighs frozen levels against fine-tuned ones, and here all are of one kind",
            where="--gamma",
            found="frozen levels only" if levels[0].frozen else "fine-tuned levels only",
            wanted="a product with the patch level, or a model whose region Transformer was "
            "pretrained and frozen",
        )
    dims = max(level.value.ndim for level in levels)
    product: Floats = np.ones((1,) * dims)
    for level in levels:
        value = level.value if level.value.ndim == dims else level.value[:, None]
        if gamma is not None:
            value = value ** ((1 - gamma) if level.frozen else gamma)
        product = product * value
    return product


def tokens_within_patches(
    patches: PatchMap, encoder: PatchEncoder, read_patches: ReadPatches, head: int | None = None
) -> TokenMap:
    """Attention of the patch encoder from CLS to the tokens of every visible patch.

    Args:
        patches: Any map of the slide's patches.
        encoder: The encoder that made the features.
        read_patches: Gives the pixels of the visible patches.
        head: The head to take; None averages them.

    Raises:
        UsageError: The encoder has no such head.
        ModelError: The encoder has no attention from CLS, or pixels are missing.
    """
    require_token_attention(encoder)
    parts: list[Floats] = []
    for pixels in read_patches(patches.visible):
        per_head = token_attention(encoder, pixels).tokens  # (n, H, T²)
        check_head(head, per_head.shape[1], "patch encoder")
        parts.append(per_head.mean(axis=1) if head is None else per_head[:, head])
    wanted = int(patches.visible.sum())
    found = sum(map(len, parts))
    if found != wanted:
        raise ModelError(
            "the slide did not give the pixels of every visible patch",
            where=patches.slide_id,
            found=f"{found} patches",
            wanted=f"{wanted}",
        )
    tokens = parts[0].shape[1] if parts else 1
    whole = np.zeros((len(patches.visible), tokens))
    if parts:
        whole[patches.visible] = np.concatenate(parts)
    return token_map(_named(patches, "patch", "attention to the token"), "patch", whole)


def token_product(
    tokens: TokenMap,
    region: LevelValues,
    slide: LevelValues | None,
    gamma: float | None = None,
) -> TokenMap:
    """Patch × region, or patch × region × slide.

    Args:
        tokens: Attention within patches; the patch encoder is always frozen.
        region: (V,) attention to each visible patch.
        slide: (V,) weight of each visible patch's region, or None to stay within regions.
        gamma: See `product_of_levels`.

    Raises:
        ModelError: See `product_of_levels`.
    """
    visible = tokens.patches.visible
    levels = [LevelValues(value=tokens.value[visible], frozen=True), region]
    level: MapLevel = "patch×region"
    within: TokensWithin = "region"
    if slide is not None:
        levels.append(slide)
        level, within = "patch×region×slide", "slide"
    whole = np.zeros(tokens.value.shape)
    whole[visible] = product_of_levels(levels, gamma)
    return token_map(_named(tokens.patches, level, level.replace("×", " × ")), within, whole)


def _named(patches: PatchMap, level: MapLevel, unit_label: str) -> PatchMap:
    within: Within = "slide" if level.endswith("slide") else "region"
    return replace(patches, level=level, unit_label=unit_label, within=within)
