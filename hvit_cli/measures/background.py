"""How much of a map lies on glass."""

from __future__ import annotations

import numpy as np

from hvit_cli.measures.comparable import MapValues


def background_mass(values: MapValues) -> float | None:
    """Share of the map's magnitude on glass ÷ share of the slide's patches that are glass.

    1 says that glass gets as much as any patch, 0 that it gets nothing. Under masked attention
    it is 0 by construction, which checks the program and is no evidence.

    Returns:
        None where the slide has no glass patch with a row, where all of the map is 0, or where
        magnitudes are no shares.
    """
    if not values.shares or not values.background.any():
        return None
    magnitude = np.where(values.shown, np.abs(np.nan_to_num(values.value)), 0.0)
    total = float(magnitude.sum())
    if total == 0:
        return None
    share = float(magnitude[values.background].sum()) / total
    return share / float(values.background.mean())
