from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from hvit_cli.health import versions
from hvit_cli.health.versions import check_import_order, check_libraries, requirements

PROJECT = Path(__file__).parents[2] / "pyproject.toml"


def test_what_is_required_is_what_the_project_says() -> None:
    said = tomllib.loads(PROJECT.read_text())["project"]["dependencies"]
    assert requirements() == dict(line.split(">=") for line in said)


def test_the_libraries_here_are_new_enough() -> None:
    (check,) = check_libraries()
    assert check.state == "fine"
    assert "torch 2" in check.found


def test_missing_and_old_libraries_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "requirements", lambda: {"numpy": "99.1", "no-such-thing": "1"})
    old, missing, _ = check_libraries()
    assert (old.name, old.state) == ("numpy", "broken")
    assert "99.1" in old.hint
    assert (missing.name, missing.found) == ("no-such-thing", "not installed")


def test_torch_before_openslide_is_said() -> None:
    assert check_import_order({"torch": 0, "openslide": 0}).state == "beware"
    assert check_import_order({"openslide": 0, "torch": 0}).state == "fine"
    assert check_import_order({"openslide": 0}).state == "fine"
