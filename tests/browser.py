"""A real browser for tests of pages: Debian's Chromium without a window, driven by its own driver.

`open_browser()` gives one that reaches nothing but this machine. Tests take it from the fixture
`browser` of `tests/conftest.py`, one for each file, which skips them where there is none, and end
with `assert not complaints(browser)`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

SIZE = (1400, 900)
PATIENCE_SECONDS = 20


def why_no_browser() -> str:
    """What is lacking for a browser, or ""."""
    lacking = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    try:
        import selenium  # noqa: F401 - only whether it is there
    except ImportError:
        lacking.append("selenium (pip)")
    return f"no {' and no '.join(lacking)}" if lacking else ""


def open_browser(size: tuple[int, int] = SIZE) -> Any:
    """A fresh Chromium that is closed with `quit()`."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for argument in (
        "--headless=new",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-default-apps",
        "--disable-dev-shm-usage",
        "--disable-extensions",
        "--disable-sync",
        "--no-first-run",
        "--force-device-scale-factor=1",
        f"--window-size={size[0]},{size[1]}",
        # Nothing but this machine, whatever a page may ask for.
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
    ):
        options.add_argument(argument)
    if os.geteuid() == 0:
        # Chromium refuses its own sandbox to root, as whom containers run.
        options.add_argument("--no-sandbox")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(executable_path=shutil.which("chromedriver"))
    browser = webdriver.Chrome(options=options, service=service)
    resize(browser, size)
    return browser


def resize(browser: Any, size: tuple[int, int]) -> None:
    """Gives the page exactly this (width, height) in pixels."""
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": False},
    )


def wait_until(browser: Any, holds: Callable[[Any], Any], what: str) -> Any:
    """What `holds(browser)` gives as soon as it is true.

    Raises:
        selenium.common.TimeoutException: It never was; says `what`.
    """
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(browser, PATIENCE_SECONDS, 0.05).until(holds, what)


def requested(browser: Any) -> list[str]:
    """Addresses that the page has asked for, in order."""
    script = "return performance.getEntriesByType('resource').map(e => e.name)"
    return list(browser.execute_script(script))


def complaints(browser: Any) -> list[str]:
    """Errors, and refusals by the page's policy, that the console got since last asked."""
    entries = browser.get_log("browser")
    return [entry["message"] for entry in entries if entry["level"] == "SEVERE"]


def screenshot(browser: Any, path: Path) -> Path:
    """Writes what is seen as a PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(browser.get_screenshot_as_png())
    return path
