"""Training that gives the same weights each time it is run on a processor."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """Adds in a fixed order inside the block, on a processor with several threads too.

    PyTorch adds gradients of gathered rows in whichever order its threads come, which moves
    weights by 1e-7 from run to run. Its deterministic mode is one switch for the process, so
    it is put back afterwards. A GPU is left as it is: some of its operations have no
    deterministic form.
    """
    before = torch.are_deterministic_algorithms_enabled()
    if device.type == "cpu":
        torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
