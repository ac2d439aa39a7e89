"""Folders of other programs."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest


@pytest.fixture(scope="session")
def foreign() -> SimpleNamespace:
    """The functions of `folders_on_disk.py`; test folders are no packages to import from."""
    return SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("folders_on_disk.py"))))
