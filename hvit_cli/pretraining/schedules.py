"""How learning rate, weight decay, momentum and temperature go from step to step.

Each is a function of the step's number alone, so that a resumed run needs no state for it.
The formulas are those of DINO's `cosine_scheduler`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from hvit_cli.settings import PretrainingSettings

# The batch for which learning rates are given.
_REFERENCE_BATCH = 256


@dataclass(frozen=True, kw_only=True)
class Schedules:
    """The values of every step of one run; steps and epochs count from 0 here.

    Attributes:
        settings: First and last values.
        steps_per_epoch: Steps of an epoch.
    """

    settings: PretrainingSettings
    steps_per_epoch: int

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return self.settings.epochs * self.steps_per_epoch

    def epoch(self, step: int) -> int:
        """The epoch that a step belongs to."""
        return step // self.steps_per_epoch

    def learning_rate(self, step: int) -> float:
        """Rises evenly from 0 in the warm-up, then falls along a cosine; scaled by the batch."""
        settings = self.settings
        highest = settings.learning_rate * settings.batch / _REFERENCE_BATCH
        warm_up = settings.warmup_epochs * self.steps_per_epoch
        if step < warm_up:
            return highest * step / max(warm_up - 1, 1)
        done = (step - warm_up) / (self.steps - warm_up)
        return _cosine(highest, settings.min_learning_rate, done)

    def weight_decay(self, step: int) -> float:
        """Goes from its first to its last value along a cosine."""
        settings = self.settings
        return _cosine(settings.weight_decay, settings.weight_decay_end, step / self.steps)

    def teacher_momentum(self, step: int) -> float:
        """Rises to 1 along a cosine."""
        return _cosine(self.settings.teacher_momentum, 1.0, step / self.steps)

    def teacher_temperature(self, step: int) -> float:
        """Goes evenly from its first to its last value in the warm-up, epoch by epoch."""
        settings, epoch = self.settings, self.epoch(step)
        first, last = settings.warmup_teacher_temperature, settings.teacher_temperature
        warm_up = settings.warmup_teacher_epochs
        if epoch >= warm_up:
            return last
        return first + (last - first) * epoch / max(warm_up - 1, 1)

    def last_layer_frozen(self, step: int) -> bool:
        """Whether the head's last layer stays as it is in this step."""
        return self.epoch(step) < self.settings.freeze_last_layer_epochs


def _cosine(first: float, last: float, done: float) -> float:
    """From `first` (nothing done) to `last` (all done)."""
    return last + 0.5 * (first - last) * (1 + math.cos(math.pi * done))
