"""The values of a map that can be compared across a whole slide.

Letters: P rows of a map (patches), V of them shown.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from hvit_cli.heatmaps.maps import PatchMap, relative
from hvit_cli.settings import GRADE_MAPS

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class MapValues:
    """One number for each patch that a map shows, comparable across the slide.

    Attributes:
        value: (P,) NaN where nothing is shown.
        shown: (P,) which patches have a colour.
        background: (P,) which patches hold no tissue.
        shares: Whether magnitudes are shares of a whole, so that parts may be added up. A
            score of a patch alone is none.
    """

    value: Floats
    shown: Bools
    background: Bools
    shares: bool = True

    @property
    def on_tissue(self) -> Bools:
        """(P,) shown patches with tissue."""
        return self.shown & ~self.background


def values_of(patch_map: PatchMap, *, hide_glass: bool = False) -> MapValues:
    """A raw map's values as they are drawn by default.

    Attention and rollout are multiples of uniform within each region; grade points are what
    they are.

    Args:
        patch_map: A raw map.
        hide_glass: Take the glass that a plain model saw away first, and let the tissue of
            each region share what is left of its attention.
    """
    shown = patch_map.visible & ~patch_map.background if hide_glass else patch_map.visible
    points = patch_map.quantity in GRADE_MAPS
    value = patch_map.value if points else relative(_seen_only(patch_map, shown))
    return MapValues(
        value=np.where(shown, value, np.nan),
        shown=shown,
        background=patch_map.background,
        shares=patch_map.quantity != "single",
    )


def _seen_only(patch_map: PatchMap, shown: Bools) -> PatchMap:
    return replace(patch_map, visible=shown, value=np.where(shown, patch_map.value, 0.0))
