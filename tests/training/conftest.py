"""The made-up cohort, and an aggregator small enough to train in a second."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

from hvit_cli.settings import AggregatorSettings


@pytest.fixture(scope="session")
def cohort() -> SimpleNamespace:
    """The functions of `cohort_on_disk.py`; test folders are no packages to import from."""
    path = Path(__file__).with_name("cohort_on_disk.py")
    return SimpleNamespace(**runpy.run_path(str(path)))


@pytest.fixture
def tiny() -> AggregatorSettings:
    return AggregatorSettings(
        patch_dim=8,
        region_px=1024,
        patch_px=256,
        region_dim=16,
        region_depth=2,
        region_heads=2,
        slide_dim=16,
        slide_depth=1,
        slide_heads=2,
    )
