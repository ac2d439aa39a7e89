from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import entropy  # type: ignore[import-untyped]

from hvit_cli.measures.comparable import MapValues
from hvit_cli.measures.concentration import concentration


def values(value: list[float], *, shares: bool = True) -> MapValues:
    numbers = np.array(value, float)
    shown = ~np.isnan(numbers)
    return MapValues(
        value=numbers, shown=shown, background=np.zeros(len(shown), bool), shares=shares
    )


def test_entropy_equals_that_of_scipy_and_magnitudes_count() -> None:
    found = concentration(values([1, -2, 3, float("nan"), 0]))
    assert found is not None
    assert found.entropy == pytest.approx(entropy([1, 2, 3, 0]) / np.log(4))
    assert found.top_share == pytest.approx(0.5)


@pytest.mark.parametrize(("value", "expected"), [([2, 2, 2], (1, 1 / 3)), ([0, 5, 0], (0, 1))])
def test_the_ends_are_uniform_and_one_patch(
    value: list[float], expected: tuple[float, float]
) -> None:
    found = concentration(values(value))
    assert found is not None
    assert (found.entropy, found.top_share) == pytest.approx(expected)


def test_it_is_undefined_of_one_patch_of_nothing_and_of_scores() -> None:
    assert concentration(values([1])) is None
    assert concentration(values([0, 0])) is None
    assert concentration(values([1, 2], shares=False)) is None
