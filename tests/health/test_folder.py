from __future__ import annotations

import os
from pathlib import Path

import pytest

from hvit_cli.health.folder import check_folder, check_memory, check_space


def test_a_local_folder_keeps_every_promise_and_is_left_as_it_was(tmp_path: Path) -> None:
    checks = list(check_folder(tmp_path / "not" / "there"))
    assert [check.name for check in checks] == [
        "rename and flush",
        "claims",
        "links",
        "HDF5",
        "names",
        "clock",
    ]
    assert {check.state for check in checks} == {"fine"}
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_without_exclusive_creation_is_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def open_without(path: object, flags: int, mode: int = 0o777) -> int:
        return real(path, flags & ~os.O_EXCL, mode)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", open_without)
    (claims,) = (check for check in check_folder(tmp_path) if check.name == "claims")
    assert claims.state == "broken"
    assert "two processes could claim one slide" in claims.found
    assert claims.hint


def test_a_folder_that_cannot_be_written_is_one_broken_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    (check,) = check_folder(tmp_path)
    assert (check.name, check.state) == ("output folder", "broken")
    assert "Permission denied" in check.found


def test_little_memory_is_said_and_no_failure() -> None:
    assert check_memory(2 * 1024**3).state == "beware"
    assert check_memory(64 * 1024**3).state == "fine"
    assert check_memory(None).state == "fine"


def test_space_is_that_of_the_disk(tmp_path: Path) -> None:
    status = os.statvfs(tmp_path)
    told = float(check_space(tmp_path / "new").found.split()[0])
    assert told == pytest.approx(status.f_bavail * status.f_frsize / 1e9, abs=0.5)
