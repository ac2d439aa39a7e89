"""Whether a map is high where the tumour is: on tissue patches alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hvit_cli.measures.comparable import MapValues
from hvit_cli.measures.patch_truth import PatchTruth
from hvit_cli.training.metrics import auroc


@dataclass(frozen=True, kw_only=True)
class Localisation:
    """How well a map tells tumour from other tissue on one slide.

    Attributes:
        auroc: Area under the receiver operating characteristic; None unless the slide has both.
        average_precision: None unless the slide has both.
        positives: Patches with tumour that were judged.
        negatives: Patches of other tissue that were judged.
    """

    auroc: float | None
    average_precision: float | None
    positives: int
    negatives: int

    @property
    def prevalence(self) -> float | None:
        """Share of positives, the average precision of a map that knows nothing."""
        judged = self.positives + self.negatives
        return self.positives / judged if judged else None


def localisation(values: MapValues, truth: PatchTruth) -> Localisation:
    """Judges the patches that the map shows on tissue and whose truth is clear."""
    judged = values.on_tissue & (truth.positive | truth.negative)
    label, value = truth.positive[judged], values.value[judged]
    positives = int(label.sum())
    both = 0 < positives < len(label)
    return Localisation(
        auroc=auroc(label, value) if both else None,
        average_precision=average_precision(label, value) if both else None,
        positives=positives,
        negatives=len(label) - positives,
    )


def average_precision(label: npt.NDArray[np.bool_], value: npt.NDArray[np.float64]) -> float | None:
    """Σ (recall step × precision) over falling thresholds, ties sharing one threshold.

    Returns:
        None where there is no positive.
    """
    if not label.any():
        return None
    order = np.argsort(-value, kind="stable")
    last_of_tie = np.append(np.diff(value[order]) != 0, True)
    found = np.cumsum(label[order])[last_of_tie]
    taken = np.flatnonzero(last_of_tie) + 1
    steps = np.diff(found, prepend=0) / found[-1]
    return float((steps * found / taken).sum())
