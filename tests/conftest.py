"""What every test may ask for: real data, reference numbers, a browser."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

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


@pytest.fixture(scope="session")
def browsing() -> SimpleNamespace:
    """The functions of `browser.py`; test folders are no packages to import from."""
    return SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("browser.py"))))


@pytest.fixture(scope="module")
def browser(browsing: SimpleNamespace) -> Iterator[Any]:
    """Chromium without a window, through Selenium; skipped where there is none."""
    if reason := browsing.why_no_browser():
        pytest.skip(reason)
    chromium = browsing.open_browser()
    yield chromium
    chromium.quit()
