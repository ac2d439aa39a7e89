from __future__ import annotations

import math

import numpy as np
import pytest

from hvit_cli.pretraining.schedules import Schedules
from hvit_cli.settings import PretrainingSettings


def schedules(steps: int = 7, **changes: object) -> Schedules:
    settings = PretrainingSettings(**{"epochs": 20, "warmup_epochs": 5, **changes})  # type: ignore[arg-type]
    return Schedules(settings=settings, steps_per_epoch=steps)


def array_of(base: float, final: float, epochs: int, steps: int, warm: int) -> list[float]:
    """The whole schedule at once: a line from 0 to the base, both included, then a cosine."""
    line = np.linspace(0, base, warm * steps)
    rest = np.arange(epochs * steps - warm * steps)
    cosine = final + 0.5 * (base - final) * (1 + np.cos(math.pi * rest / len(rest)))
    return [*line, *cosine]


def test_the_learning_rate_follows_the_whole_array_and_scales_with_the_batch() -> None:
    made = schedules(batch=64)
    wanted = array_of(5e-4 * 64 / 256, 1e-6, 20, 7, 5)
    assert made.steps == len(wanted) == 140
    found = [made.learning_rate(step) for step in range(140)]
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-18)
    assert found[0] == 0
    assert max(found) == found[34] == found[35] == pytest.approx(1.25e-4)


def test_without_a_warm_up_the_first_step_has_the_highest_rate() -> None:
    made = schedules(warmup_epochs=0, batch=256)
    assert made.learning_rate(0) == 5e-4
    assert made.learning_rate(70) == pytest.approx(1e-6 + 0.5 * (5e-4 - 1e-6))


@pytest.mark.parametrize(("name", "first", "last"), [
    ("weight_decay", 0.04, 0.4),
    ("teacher_momentum", 0.996, 1.0),
])  # fmt: skip
def test_decay_and_momentum_follow_a_cosine_over_the_whole_run(
    name: str, first: float, last: float
) -> None:
    made = schedules()
    found = [getattr(made, name)(step) for step in range(140)]
    np.testing.assert_allclose(found, array_of(first, last, 20, 7, 0), rtol=1e-12)
    assert found[0] == pytest.approx(first)
    assert found[70] == pytest.approx((first + last) / 2)
    assert found == sorted(found)


def test_the_teachers_temperature_warms_up_epoch_by_epoch() -> None:
    made = schedules(
        warmup_teacher_temperature=0.04, teacher_temperature=0.07, warmup_teacher_epochs=4
    )
    found = [made.teacher_temperature(7 * epoch + 3) for epoch in range(6)]
    assert found == pytest.approx([0.04, 0.05, 0.06, 0.07, 0.07, 0.07])
    assert schedules().teacher_temperature(0) == 0.04


def test_the_last_layer_is_frozen_for_whole_epochs() -> None:
    made = schedules(freeze_last_layer_epochs=2)
    assert [made.last_layer_frozen(step) for step in (0, 13, 14, 139)] == [True, True, False, False]
