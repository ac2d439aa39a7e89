"""What a patch shows, told by the labelled patches whose features are nearest.

DINO's evaluation (Caron et al. 2021, section 4.1; Wu et al. 2018): the k patches of largest
cosine similarity vote for their labels with weights exp(similarity / temperature). Letters: n
patches, q of them told, C classes, D width.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hvit_cli.settings import ProbeSettings

Floats = npt.NDArray[np.float64]
Classes = npt.NDArray[np.int64]

_TOLD_AT_ONCE = 1024


def vote(
    features: npt.NDArray[np.float32],
    label: Classes,
    group: Classes,
    is_bank: npt.NDArray[np.bool_] | None,
    settings: ProbeSettings,
) -> tuple[npt.NDArray[np.int64], Floats]:
    """The share of the weighted votes that each class gets at each patch that is told.

    Args:
        features: (n, D), of any length; zeros are similar to nothing.
        label: (n,) class index.
        group: (n,) number of the group; no patch is told by its own.
        is_bank: (n,) whether a patch only tells, and the others are only told; None lets every
            patch be told by all other groups.
        settings: Neighbours and temperature; a smaller bank votes as a whole.

    Returns:
        (q,) which patches are told, ascending, and (q, C) shares, each row of sum 1.
    """
    unit = features.astype(np.float64)
    unit = unit / np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-12)
    count = len(features)
    tells = np.ones(count, bool) if is_bank is None else is_bank
    told = np.arange(count) if is_bank is None else np.flatnonzero(~is_bank)
    bank = np.flatnonzero(tells)
    of_class = np.eye(int(label.max()) + 1)[label[bank]]
    k = min(settings.neighbours, len(bank))
    shares = []
    for some in np.array_split(told, max(1, -(-len(told) // _TOLD_AT_ONCE))):
        similarity = unit[some] @ unit[bank].T
        similarity[group[some][:, None] == group[bank][None, :]] = -np.inf
        # Of equally similar patches the first in the table votes.
        nearest = np.argsort(-similarity, axis=1, kind="stable")[:, :k]
        near = np.take_along_axis(similarity, nearest, axis=1)
        weight = np.exp((near - near[:, :1]) / settings.temperature)
        votes = np.einsum("qk,qkc->qc", weight, of_class[nearest])
        shares.append(votes / votes.sum(axis=1, keepdims=True))
    return told, np.concatenate(shares)
