"""What every test may ask for: the folders of real data and of reference numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

_SHARED = Path(__file__).resolve().parents[2] / "shared"


def _folder(name: str) -> Path:
    folder = _SHARED / name
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent: the test data are not part of the repository")
    return folder


@pytest.fixture(scope="session")
def data() -> Path:
    """Real slides, masks, tables and malformed files."""
    return _folder("data")


@pytest.fixture(scope="session")
def reference() -> Path:
    """Numbers computed with the original implementation."""
    return _folder("reference")
