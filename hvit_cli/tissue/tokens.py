"""Which tokens of a patch hold tissue: the rule of patches, one level down.

A token is the square of a patch that a patch encoder sees as one. It holds tissue where a mask
pixel with tissue has its centre in it, so that a patch holds tissue exactly where a token does.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from hvit_cli.errors import TissueError
from hvit_cli.settings import TissueSettings
from hvit_cli.tissue.coverage import count_pixels
from hvit_cli.tissue.mask import TissueMask

MASK_SPACING_UM = 2.0
"""Micrometres per pixel of the coarsest mask that may speak of tokens, which are 8 µm wide."""

# The sizes of a slide and of its mask are whole pixels, and levels are near what was asked for.
_TOLERANCE = 0.05
# Segmentation takes a level within 20 % of what is asked for; asking for this never gives one
# that is too coarse.
_CERTAIN_SPACING_UM = 1.6
_SEGMENTED_NEAR_UM = 2.4


def fine_enough(settings: TissueSettings) -> TissueSettings:
    """The same settings, segmenting on a picture that is fine enough to speak of tokens."""
    if settings.segment_spacing_um <= MASK_SPACING_UM:
        return settings
    return replace(settings, segment_spacing_um=MASK_SPACING_UM)


def tokens_with_tissue(
    mask: TissueMask,
    origin_level0: npt.NDArray[np.float64],
    patch_level0: float,
    side: int,
    *,
    where: str,
) -> npt.NDArray[np.bool_]:
    """Tells which tokens of some patches hold tissue.

    Args:
        mask: Where the tissue is.
        origin_level0: (P, 2) top-left corners (x, y) of the patches, not rounded.
        patch_level0: Side of a patch in level-0 pixels, not rounded.
        side: Tokens along one side of a patch.
        where: Name of the slide, for messages.

    Returns:
        (P, side²) bool, tokens row by row.

    Raises:
        TissueError: The mask is too coarse to tell one token from the next.
    """
    require_fine(mask, where)
    steps = np.arange(side + 1) * (patch_level0 / side)
    tissue, _ = count_pixels(mask, origin_level0[:, :1] + steps, origin_level0[:, 1:] + steps)
    return (tissue > 0).reshape(len(origin_level0), side**2)


def require_fine(mask: TissueMask, where: str) -> None:
    """Refuses a mask that is too coarse for tokens.

    Raises:
        TissueError: It is, and what to pass instead.
    """
    if mask.spacing_um <= MASK_SPACING_UM * (1 + _TOLERANCE):
        return
    asked = MASK_SPACING_UM if mask.spacing_um > _SEGMENTED_NEAR_UM else _CERTAIN_SPACING_UM
    raise TissueError(
        "the tissue mask is too coarse to leave out tokens without tissue",
        where=where,
        found=f"{mask.spacing_um:.3g} µm per mask pixel",
        wanted=f"{MASK_SPACING_UM:g} µm or finer",
        hint=(
            f"--segment-spacing {asked:g} with --overwrite, or another work folder with -w"
            if mask.source == "segmented"
            else "a finer mask, or --mask-level region"
        ),
    )
