"""In which order an epoch shows the training slides; a function of seed and epoch alone.

Because nothing is remembered from one epoch to the next, a resumed run draws exactly what an
uninterrupted one would have drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

# Streams of random numbers, apart from each other; see `training.folds`.
_ORDER_STREAM = 2
_DROPOUT_STREAM = 3


def epoch_order(
    grade: Sequence[int], *, weighted: bool, seed: int, epoch: int
) -> npt.NDArray[np.int64]:
    """Indices of the slides of one epoch, as many as there are slides.

    Args:
        grade: The grade of each training slide.
        weighted: Draw with replacement, each slide with probability 1 / (slides of its
            grade × grades that occur), so that all grades are expected equally often;
            otherwise every slide once, shuffled.
        seed: Seed of the run.
        epoch: Number of the epoch, from 1.
    """
    generator = np.random.default_rng([seed, _ORDER_STREAM, epoch])
    if not weighted:
        return generator.permutation(len(grade))
    _, kind, count = np.unique(np.asarray(grade), return_inverse=True, return_counts=True)
    probability = 1.0 / (count[kind] * len(count))
    return generator.choice(len(grade), size=len(grade), replace=True, p=probability)


def dropout_seed(seed: int, epoch: int, rank: int = 0) -> int:
    """The seed of the network's own randomness (dropout) in one epoch and process."""
    # A single process draws what it drew before there could be several.
    key = [seed, _DROPOUT_STREAM, epoch, *([rank] if rank else [])]
    words = np.random.SeedSequence(key).generate_state(2)
    return (int(words[0]) << 31) ^ int(words[1])


def batches(order: npt.NDArray[np.int64], batch_slides: int) -> Iterator[npt.NDArray[np.int64]]:
    """Cuts an epoch's order into the batches of one optimiser step each; the last may be short."""
    for start in range(0, len(order), batch_slides):
        yield order[start : start + batch_slides]
