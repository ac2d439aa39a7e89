"""Whether a network still tells patches apart: measures of an epoch, and the alarm.

Without labels a network can lower its loss by saying the same of everything. Centring alone
drives the teacher towards one output for all, sharpening alone towards all outputs evenly
(Caron et al. 2021, section 5.3); what is wrong shows in its entropy, and that something is
wrong in the other numbers:

    entropy       of what the teacher says of a crop: 0 is one output, log K all evenly
    information   entropy of the mean of all that is said, less the mean entropy: 0 where
                  the same is said of every crop, whatever it is
    feature rank  exp of the entropy of the normalised singular values of the features
                  (RankMe, Garrido et al. 2023): 1 where all are multiples of one vector
    feature sd    standard deviation of the unit-length features, mean over their D numbers,
                  times √D: 0 where all point one way, 1 where they point anywhere
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

LEAST_RANK = 1.5
"""Features of a lower rank are one vector and noise."""

LEAST_SD = 0.02
"""Unit-length features that deviate less than this share of what they could are all equal."""

LEAST_INFORMATION = 0.01
"""Nats; teachers that say less of a crop say the same of all. Watched after the warm-up."""

LOW_ENTROPY, HIGH_ENTROPY = 0.05, 0.98
"""Shares of log K beyond which the teacher's outputs have become one, or all alike."""


def effective_rank(features: Tensor) -> float:
    """Along how many directions features spread, from 1 to min(n, D).

    Args:
        features: (n, D).
    """
    values = torch.linalg.svdvals(features.double())
    shares = values / values.sum().clamp(min=1e-300)
    return math.exp(float(torch.special.entr(shares).sum()))


def feature_sd(features: Tensor) -> float:
    """How differently features point; see the module.

    Args:
        features: (n, D), two or more rows.
    """
    directions = torch.nn.functional.normalize(features.double(), dim=-1)
    return float(directions.std(dim=0).mean()) * math.sqrt(features.shape[1])


def information(said: Tensor, entropy: float) -> float:
    """What the teacher's outputs tell of a crop, in nats; see the module.

    Args:
        said: (K,) sum of its distributions over crops.
        entropy: Their mean entropy.
    """
    mean = said.double() / said.double().sum()
    return max(float(torch.special.entr(mean).sum()) - entropy, 0.0)


def alarm(
    *,
    entropy: float,
    outputs: int,
    information: float,
    rank: float,
    sd: float,
    warmed_up: bool,
) -> str:
    """One sentence where an epoch looks like collapse, "" where it does not.

    Args:
        entropy: Mean entropy of the teacher, nats.
        outputs: K.
        information: From `information`.
        rank: From `effective_rank`.
        sd: From `feature_sd`.
        warmed_up: Whether the learning rate's warm-up is over; before, a teacher that says
            the same of everything is still to be expected.
    """
    same_features = rank < LEAST_RANK or sd < LEAST_SD
    same_outputs = warmed_up and information < LEAST_INFORMATION
    if not same_features and not same_outputs:
        return ""
    share = entropy / math.log(outputs)
    if share > HIGH_ENTROPY:
        kind = "all outputs of the teacher have become alike"
        hint = "a lower --teacher-temperature"
    elif share < LOW_ENTROPY:
        kind = "one output of the teacher has taken everything"
        hint = "a higher --teacher-temperature or a lower --centre-momentum"
    else:
        kind = "the teacher says the same of all patches"
        hint = "more patches or a larger --batch"
    measured = f"entropy {share:.0%} of its maximum, feature rank {rank:.1f}, sd {sd:.3f}"
    return f"collapse: {kind} ({measured}); try a lower --learning-rate, {hint}"
