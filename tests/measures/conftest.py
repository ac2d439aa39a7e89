"""The made-up slide and the tiny model of the tests of attribution."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path

import pytest

from hvit_cli.models.aggregator import Aggregator
from hvit_cli.storage.features import SlideFeatures

_SHARED = runpy.run_path(str(Path(__file__).parents[1] / "attribution" / "conftest.py"))


@pytest.fixture(scope="session")
def make_aggregator() -> Callable[..., Aggregator]:
    """A network with weights large enough to attend, in float64."""
    made: Callable[..., Aggregator] = _SHARED["_aggregator"]
    return made


@pytest.fixture(scope="session")
def make_features() -> Callable[..., SlideFeatures]:
    """Every patch of five regions, some with tissue."""
    made: Callable[..., SlideFeatures] = _SHARED["_features"]
    return made
