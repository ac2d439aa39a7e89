"""The made-up cohort, and an aggregator small enough to train in a second."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from hvit_cli.settings import AggregatorSettings


def _load(path: Path) -> ModuleType:
    # Test folders are no packages, so a module beside a test is loaded by its path.
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def cohort() -> ModuleType:
    """The module `cohort_on_disk`."""
    return _load(Path(__file__).with_name("cohort_on_disk.py"))


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
