from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hvit_cli.storage import temporaries
from hvit_cli.storage.processes import start_of, this_system
from hvit_cli.storage.temporaries import NOBODYS_AGE_S, PREFIX, sweep, temporary_beside

DAY_S = 24 * 3600.0


def touched(path: Path, age_s: float = 0.0) -> Path:
    path.write_bytes(b"half")
    moment = time.time() - age_s
    os.utime(path, (moment, moment))
    return path


def test_what_a_living_process_writes_is_left_alone_however_old(tmp_path: Path) -> None:
    own = touched(temporary_beside(tmp_path / "a.h5"), age_s=30 * DAY_S)
    assert sweep(tmp_path, time.time()) == []
    assert own.exists()


@pytest.mark.skipif(not this_system(), reason="no process is known to have died here")
def test_what_a_dead_process_of_this_system_left_goes_at_once(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    maker = temporary_beside(tmp_path / "a.h5").name.split("-")
    maker[3:5] = [str(ended.pid), maker[4]]
    left = touched(tmp_path / "-".join(maker))
    assert sweep(tmp_path, time.time()) == [left]
    assert not left.exists()


@pytest.mark.skipif(not this_system(), reason="no process is known to have died here")
def test_a_later_process_with_the_same_number_does_not_keep_it(tmp_path: Path) -> None:
    own = temporary_beside(tmp_path / "a.h5").name
    began = start_of(os.getpid())
    left = touched(tmp_path / own.replace(f"-{began}-", f"-{int(began) - 1}-"))
    assert sweep(tmp_path, time.time()) == [left]


@pytest.mark.parametrize("name", ["01234567-12-345-aaaa-a.h5", "0123456789ab-a.h5"])
def test_of_another_system_only_what_nobody_wrote_to_for_a_day_goes(
    tmp_path: Path, name: str
) -> None:
    path = touched(tmp_path / f"{PREFIX}{name}", age_s=NOBODYS_AGE_S - 60)
    assert sweep(tmp_path, time.time()) == []
    touched(path, age_s=NOBODYS_AGE_S + 60)
    assert sweep(tmp_path, time.time()) == [path]


def test_nothing_else_is_touched(tmp_path: Path) -> None:
    kept = {"a.h5", ".hidden", "hvit-tmp-x"}
    for name in kept:
        touched(tmp_path / name, age_s=30 * DAY_S)
    (tmp_path / "below").mkdir()
    touched(tmp_path / "below" / f"{PREFIX}0123-a.h5", age_s=30 * DAY_S)
    assert sweep(tmp_path, time.time()) == []
    assert {p.name for p in tmp_path.iterdir()} == kept | {"below"}


def test_a_folder_is_looked_through_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[Path] = []

    def noted(folder: Path, now: float) -> list[Path]:
        looked.append(folder)
        return []

    monkeypatch.setattr(temporaries, "sweep", noted)
    for _ in range(3):
        temporaries.sweep_once(tmp_path, time.time())
    assert looked == [tmp_path]
