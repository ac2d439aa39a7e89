"""Drawing the parts of a division: groups stay whole, every part looks like the whole.

The largest groups are placed first and single slides last, each where it brings the counts
closest to what they should be. Closeness is Pearson's Σ (count − wanted)² / wanted, summed over
all slides, over the values of each stratifying column and over their combinations; the single
slides, usually most of them, then even out what the groups left uneven.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from hvit_cli.training.groups import members_of

# Raised when the same settings begin to give other parts.
METHOD = 1
# The draw of folds has a stream of its own; the draw of one fold has 1.
_STREAM = 101

Strata = Mapping[str, tuple[object, ...]]


def draw_parts(
    strata: Strata, group_of: Mapping[str, str], shares: Sequence[float], seed: int
) -> dict[str, int]:
    """Divides slides into parts of given shares.

    The result depends on ids, strata, groups and seed, not on their order.

    Args:
        strata: The values to be shared out evenly, by slide id: one per stratifying column.
        group_of: Group by slide id; slides without one stand alone.
        shares: Share of each part, above 0; together 1.
        seed: Seed of the draw.

    Returns:
        Number of the part, from 0, by slide id.
    """
    slide_ids = sorted(strata)
    units = [*members_of({i: group_of[i] for i in slide_ids if i in group_of}).values()]
    units += [[i] for i in slide_ids if i not in group_of]
    generator = np.random.default_rng([seed, _STREAM])
    chance = generator.permutation(len(units))
    # Of equal size, chance decides who comes first.
    order = sorted(range(len(units)), key=lambda unit: (-len(units[unit]), chance[unit]))
    category_of, totals = _categories(strata, slide_ids)
    wanted = np.asarray(shares, np.float64)[:, None] * totals
    counts = np.zeros_like(wanted)
    part_of: dict[str, int] = {}
    for unit in order:
        cells, times = _counts([category_of[i] for i in units[unit]])
        after = counts[:, cells] + times - wanted[:, cells]
        before = counts[:, cells] - wanted[:, cells]
        cost = ((after**2 - before**2) / wanted[:, cells]).sum(1)
        best = np.flatnonzero(cost <= cost.min() + 1e-9)
        part = int(generator.choice(best))
        counts[part, cells] += times
        part_of.update(dict.fromkeys(units[unit], part))
    return part_of


def _categories(
    strata: Strata, slide_ids: Sequence[str]
) -> tuple[dict[str, tuple[int, ...]], npt.NDArray[np.float64]]:
    """The categories each slide counts in, and how many slides count in each category."""
    number: dict[object, int] = {}
    category_of = {}
    totals: list[int] = []
    for slide_id in slide_ids:
        values = strata[slide_id]
        keys: list[object] = ["all", *enumerate(values)]
        if len(values) > 1:
            keys.append(values)
        cells = []
        for key in keys:
            cell = number.setdefault(key, len(number))
            if cell == len(totals):
                totals.append(0)
            totals[cell] += 1
            cells.append(cell)
        category_of[slide_id] = tuple(cells)
    return category_of, np.asarray(totals, np.float64)


def _counts(
    cells: Sequence[tuple[int, ...]],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    found, times = np.unique(np.asarray(cells), return_counts=True)
    return found.astype(np.int64), times.astype(np.int64)
