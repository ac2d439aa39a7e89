"""What the network's outputs mean: the loss that teaches them, and the score they give.

Whatever the objective, a slide gets one **score** on the scale of the label, and its grade is
that score rounded half to even and kept within the classes. Scores of an ensemble are
averaged, then rounded.

    regression       the output itself                        squared error
    classification   Σ k · softmax(outputs)_k                 cross-entropy
    ordinal          Σ_k sigmoid(output_k), k = 0 … K-2       CORAL: is the grade above k?

The expected class, not the likeliest, is the score of a classification: quadratic kappa
weighs errors by their square, for which the mean is the best guess (docs/decisions).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from hvit_cli.settings import TaskSettings

# Keeps the logarithm of a share finite where a class does not occur.
_LEAST_SHARE = 1e-3


def loss_sum(outputs: Tensor, label: Tensor, task: TaskSettings) -> Tensor:
    """The loss of each slide, added up.

    Args:
        outputs: (S, outputs) of the network.
        label: (S,) float, whole numbers from 0.
        task: Says which loss.
    """
    if task.objective == "classification":
        return F.cross_entropy(outputs, label.long(), reduction="sum")
    if task.objective == "ordinal":
        above = label[:, None] > _ranks(outputs)
        return F.binary_cross_entropy_with_logits(outputs, above.to(outputs.dtype), reduction="sum")
    return (outputs[:, 0] - label).square().sum()


def score_of(outputs: Tensor, task: TaskSettings) -> Tensor:
    """(S, outputs) → (S,) scores on the scale of the label; see the module."""
    if task.objective == "classification":
        return outputs.softmax(-1) @ torch.arange(task.grades).to(outputs)
    if task.objective == "ordinal":
        return outputs.sigmoid().sum(-1)
    return outputs[:, 0]


def mean_outputs(labels: Sequence[int], task: TaskSettings) -> Tensor:
    """(outputs,) what a network that knows only how often each label occurs should say."""
    share = np.bincount(labels, minlength=task.grades) / len(labels)
    if task.objective == "classification":
        return torch.from_numpy(np.log(np.maximum(share, _LEAST_SHARE))).float()
    if task.objective == "ordinal":
        above = np.clip(1 - np.cumsum(share)[:-1], _LEAST_SHARE, 1 - _LEAST_SHARE)
        return torch.from_numpy(np.log(above / (1 - above))).float()
    return torch.tensor([sum(labels) / len(labels)])


def _ranks(outputs: Tensor) -> Tensor:
    return torch.arange(outputs.shape[-1], device=outputs.device)
