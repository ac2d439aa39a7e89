"""Random numbers that depend on where they are used and on nothing that happened before.

A counter-based generator (Philox, Salmon et al. 2011) is keyed by the run's seed and by what
the numbers are for, and its counter starts at (step, position in the batch). Threads,
processes and a resumed run draw the same numbers, in whatever order they come to them.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """What numbers are drawn for; each purpose has a stream of its own."""

    ORDER = 1
    CROPS = 2
    REPLACEMENT = 3


def generator(seed: int, purpose: Purpose, first: int, second: int = 0) -> np.random.Generator:
    """The generator of one place, such as (step, position in the batch).

    Args:
        seed: The run's seed.
        purpose: What the numbers are for.
        first: Outer coordinate of the place, 0 or more.
        second: Inner coordinate of the place, 0 or more.
    """
    # Two words of the counter are left for the numbers themselves: 2**128 blocks.
    bits = np.random.Philox(counter=[0, 0, second, first], key=[seed, int(purpose)])
    return np.random.Generator(bits)
