"""Python and the libraries, beside what hvit asks for, and the order in which they were loaded."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Iterator, Mapping
from importlib import metadata

from hvit_cli.health.check import Check

_REQUIREMENT = re.compile(r"^([A-Za-z0-9_.-]+)\s*(?:>=\s*([0-9][0-9.]*))?")
_OLDEST_PYTHON = (3, 11)


def check_python() -> Check:
    """The interpreter and the system."""
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    if sys.version_info < _OLDEST_PYTHON:
        return Check(name="python", state="broken", found=found, hint="Python 3.11 or newer")
    return Check(name="python", state="fine", found=found)


def check_libraries() -> Iterator[Check]:
    """A line for every library that is missing or too old, and one for the others."""
    wanted, installed = requirements(), {}
    for name, oldest in wanted.items():
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            yield Check(
                name=name, state="broken", found="not installed", hint=f"pip install {name}"
            )
            continue
        installed[name] = version
        if _numbers(version) < _numbers(oldest):
            yield Check(
                name=name,
                state="broken",
                found=f"{version}, older than {oldest}",
                hint=f"pip install --upgrade '{name}>={oldest}'",
            )
    listed = ", ".join(f"{name} {version}" for name, version in sorted(installed.items()))
    yield Check(name="libraries", state="fine", found=listed)


def check_import_order(modules: Mapping[str, object] = sys.modules) -> Check:
    """OpenSlide must be loaded before torch, which may change what it detects."""
    order = [name for name in modules if name in ("openslide", "torch")]
    if order[:2] == ["torch", "openslide"]:
        return Check(
            name="import order",
            state="beware",
            found="torch was loaded before OpenSlide",
            hint="import hvit_cli.slides before torch in your own program",
        )
    return Check(name="import order", state="fine", found="OpenSlide before torch")


def requirements() -> dict[str, str]:
    """The libraries hvit needs, with the oldest version that will do ("0" where any will)."""
    found = {}
    for line in metadata.requires("hvit") or ():
        match = _REQUIREMENT.match(line)
        if match and "extra ==" not in line:
            found[match[1]] = match[2] or "0"
    return found


def _numbers(version: str) -> tuple[int, ...]:
    # 2.15.0+cpu and 1.0.0rc1 are compared by the numbers they begin with.
    match = re.match(r"\d+(\.\d+)*", version)
    return tuple(map(int, match[0].split("."))) if match else ()
