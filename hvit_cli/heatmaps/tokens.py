"""One number per token: the patches' own 16×16 squares, and on which scale.

Letters: P rows (patches that have one), T tokens along one side of a patch.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from hvit_cli.heatmaps.maps import SAME_DECIMALS, PatchMap, minmax, rank
from hvit_cli.settings import Scale

TokensWithin = Literal["patch", "region", "slide"]


@dataclass(frozen=True, kw_only=True)
class TokenMap:
    """One number for each token of a slide's patches.

    Attributes:
        patches: The patches: where they lie, which were visible, and what the numbers are. Its
            values are the sums over each patch's tokens (raw) or their means (scaled).
        within: Among which tokens the values can be compared: those of a patch, a region, all.
        tokens_per_side: T.
        value: (P, T²) float64, tokens in row-major order. Of no meaning where the patch was not
            visible: 0 in raw maps, NaN in scaled.
    """

    patches: PatchMap
    within: TokensWithin
    tokens_per_side: int
    value: npt.NDArray[np.float64]

    def __post_init__(self) -> None:
        wanted = (len(self.patches.value), self.tokens_per_side**2)
        if self.value.shape != wanted:
            raise ValueError(f"values of shape {self.value.shape}, not {wanted}")
        if not np.isfinite(self.value[self.patches.visible]).all():
            raise ValueError("a visible patch has a token without a finite value")

    def as_patch_map(self) -> PatchMap:
        """The same numbers as a map of small patches, one a token, to be stitched and painted."""
        patches, side = self.patches, self.tokens_per_side
        row, column = np.divmod(np.arange(side**2), side)
        token_level0 = patches.patch_level0 / side
        offset = np.stack([column, row], axis=1) * token_level0  # (T², 2)
        corner = patches.patch_xy_level0[:, None] + np.rint(offset).astype(np.int64)[None]
        patch_row, patch_column = np.divmod(patches.patch_index, patches.side)
        place_row = patch_row[:, None] * side + row
        place_column = patch_column[:, None] * side + column
        return dataclasses.replace(
            patches,
            within="slide" if self.within == "slide" else "region",
            patch_level0=token_level0,
            patch_xy_level0=corner.reshape(-1, 2),
            region_index=np.repeat(patches.region_index, side**2),
            patch_index=(place_row * patches.side * side + place_column).reshape(-1),
            tissue_fraction=np.repeat(patches.tissue_fraction, side**2),
            visible=np.repeat(patches.visible, side**2),
            value=self.value.reshape(-1),
        )


def token_map(patches: PatchMap, within: TokensWithin, value: npt.NDArray[np.float64]) -> TokenMap:
    """A raw map of tokens: hidden patches get 0, each patch the sum of its tokens.

    Args:
        patches: Where the patches lie and which were visible; its own values are replaced.
        within: Among which tokens the values can be compared.
        value: (P, T²).
    """
    seen = np.where(patches.visible[:, None], value, 0.0)
    return TokenMap(
        patches=dataclasses.replace(patches, value=seen.sum(axis=1)),
        within=within,
        tokens_per_side=round(value.shape[1] ** 0.5),
        value=seen,
    )


def relative_tokens(raw: TokenMap) -> npt.NDArray[np.float64]:
    """(P, T²) values as a multiple of what an even division of the whole would give; else NaN.

    The whole is what the visible tokens of the patch, the region or the slide share.
    """
    patches = raw.patches
    rows = len(patches.value)
    group = {
        "patch": np.arange(rows),
        "region": patches.region_index,
        "slide": np.zeros(rows, np.int64),
    }[raw.within][patches.visible]
    value = raw.value[patches.visible]  # (V, T²)
    tokens = np.bincount(group)[group] * raw.tokens_per_side**2 if len(group) else group
    total = np.bincount(group, weights=value.sum(axis=1))[group] if len(group) else group
    scaled = np.full(raw.value.shape, np.nan)
    scaled[patches.visible] = np.divide(
        value * tokens[:, None],
        total[:, None],
        out=np.ones_like(value),
        where=(total > 0)[:, None],
    )
    return scaled


def rescale_tokens(raw: TokenMap, scale: Scale) -> TokenMap:
    """The map on another scale, NaN where the patch was not visible; as `maps.rescale`."""
    seen = raw.patches.visible
    value = np.where(seen[:, None], raw.value, np.nan)
    if scale != "raw":
        value = relative_tokens(raw)
    if scale in ("rank", "minmax"):
        flat = value[seen].round(SAME_DECIMALS).reshape(-1)
        ordered = rank(flat) if scale == "rank" else minmax(flat)
        value[seen] = ordered.reshape(-1, raw.value.shape[1])
    patches = dataclasses.replace(raw.patches, value=value.mean(axis=1))
    return dataclasses.replace(raw, patches=patches, value=value)
