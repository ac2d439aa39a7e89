"""What an epoch adds up while it runs, so that it can stop between two steps."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from hvit_cli.pretraining.distillation import StepRecord
from hvit_cli.training.workers import Workers

SAMPLE = 1024
"""Features of the first process, the last of an epoch, from which rank and deviation are told."""


class EpochSums:
    """Sums over the steps of one epoch that are done, and its last features."""

    def __init__(self) -> None:
        self.steps = 0
        self.patches = 0
        self.seconds = 0.0
        self.loss = 0.0
        self.entropy = 0.0
        self._said: Tensor | None = None
        self._features: list[Tensor] = []

    def add(self, record: StepRecord, seconds: float) -> None:
        """Adds a step, which took `seconds` with reading its patches."""
        self.steps += 1
        self.patches += record.patches
        self.seconds += seconds
        self.loss += record.loss
        self.entropy += record.teacher_entropy
        self._said = record.said if self._said is None else self._said + record.said
        self._features.append(record.features.cpu())
        while sum(map(len, self._features[1:])) >= SAMPLE:
            self._features.pop(0)

    @property
    def features(self) -> Tensor:
        """(n, D), the last features of the epoch, at most `SAMPLE`."""
        return torch.cat(self._features)[-SAMPLE:]

    def said(self, workers: Workers) -> Tensor:
        """(K,) sum of what the teacher said of all crops, over all processes."""
        assert self._said is not None
        return workers.add(self._said).cpu()

    def state(self) -> dict[str, object]:
        """For `restore`; plain values and tensors."""
        return {**vars(self), "_features": self._features and [self.features]}

    def restore(self, state: Mapping[str, object], device: torch.device) -> None:
        """Goes back to where `state` was taken."""
        vars(self).update(state)
        if self._said is not None:
            self._said = self._said.to(device)
