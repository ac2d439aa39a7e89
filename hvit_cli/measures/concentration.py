"""How much of a map lies on few patches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hvit_cli.measures.comparable import MapValues


@dataclass(frozen=True, kw_only=True)
class Concentration:
    """How few patches hold a map.

    Attributes:
        entropy: Of the shares, ÷ its largest possible value: 1 is uniform, 0 one patch.
        top_share: Share of the largest.
    """

    entropy: float
    top_share: float


def concentration(values: MapValues) -> Concentration | None:
    """Entropy and largest share of the magnitudes on the patches shown.

    Returns:
        None where fewer than two patches are shown, all are 0, or magnitudes are no shares.
    """
    magnitude = np.abs(values.value[values.shown])
    total = float(magnitude.sum())
    if not values.shares or len(magnitude) < 2 or total == 0:
        return None
    share = magnitude / total
    held = share[share > 0]
    entropy = -float((held * np.log(held)).sum()) / float(np.log(len(share)))
    return Concentration(entropy=max(entropy, 0.0), top_share=float(share.max()))
