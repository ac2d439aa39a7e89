"""What the student learns: to say of every crop what the teacher says of the large ones.

The teacher's outputs are centred and sharpened into a distribution q over K outputs, the
student's are turned into a distribution p, and the loss is the mean cross-entropy H(q, p)
over the patches and over all pairs of a large crop of the teacher and another crop of the
student (Caron et al. 2021, eq. 1 and 3).

Letters: b patches, g large crops of each, m crops of each in all, K outputs. Outputs stand
crop after crop: row c · b + i is crop c of patch i, large crops first.
"""

from __future__ import annotations

import torch
from torch import Tensor


def teacher_distribution(outputs: Tensor, centre: Tensor, temperature: float) -> Tensor:
    """What the teacher says: centred, sharpened, and without a gradient.

    Args:
        outputs: (g · b, K).
        centre: (K,), the running mean of such outputs.
        temperature: Below 1, of the softmax.

    Returns:
        (g · b, K) float32, each row sums to 1.
    """
    return ((outputs.detach().float() - centre) / temperature).softmax(-1)


def cross_entropy_sum(outputs: Tensor, teacher: Tensor, crops: int, temperature: float) -> Tensor:
    """The loss of each patch, added up.

    As q sums to 1, H(q, p) = log Σ exp(s) - q · s for the student's scaled outputs s, so that
    all pairs of one crop of the student need one product with the sum of their q.

    Args:
        outputs: (m · b, K) of the student.
        teacher: (g · b, K) from `teacher_distribution`, for the first g of the m crops.
        crops: m.
        temperature: Of the student's softmax.

    Returns:
        Scalar float32, the sum over patches of the mean over the g · (m - 1) pairs.
    """
    scaled = outputs.float().view(crops, -1, outputs.shape[-1]) / temperature  # (m, b, K)
    targets = teacher.view(-1, *scaled.shape[1:])  # (g, b, K)
    large = len(targets)
    together = targets.sum(0)  # (b, K)
    partition = scaled.logsumexp(-1).sum(1)  # (m,)
    # Each crop of the student meets all g of the teacher, except that a large one is spared
    # its own: nothing is to be learned from the same pixels.
    loss: Tensor = large * partition.sum() - partition[:large].sum()
    loss = loss - (scaled.sum(0) * together).sum() + (scaled[:large] * targets).sum()
    return loss / (large * (crops - 1))


def entropy_sum(teacher: Tensor) -> Tensor:
    """(g · b, K) → the entropies of all rows in nats, added up."""
    entropies: Tensor = torch.special.entr(teacher)
    return entropies.sum()


def moved_centre(centre: Tensor, mean_output: Tensor, momentum: float) -> Tensor:
    """The centre after a step: most of the old one, and the mean of the batch's outputs.

    Args:
        centre: (K,).
        mean_output: (K,), mean of the teacher's outputs over the large crops of all processes.
        momentum: How much of the old one stays.
    """
    return centre * momentum + mean_output * (1 - momentum)
