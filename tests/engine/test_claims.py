from __future__ import annotations

import json
import os
import threading
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from hvit_cli.engine.claims import Claim, Claims, alone, claim_path, read_claims, server_time


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "claims" / "tile"


def strangers(folder: Path, slide_id: str, age_s: float, **said: object) -> Path:
    """A claim of a process on another machine, with a sign of life so long ago."""
    folder.mkdir(parents=True, exist_ok=True)
    path = claim_path(folder, slide_id)
    claim = {
        "slide_id": slide_id,
        "host": "node7",
        "process_id": 7,
        "machine": "another",
        "process_start": "1",
        "token": "t",
        **said,
    }
    path.write_text(json.dumps(asdict(Claim(**claim))))  # type: ignore[arg-type]
    then = time.time() - age_s
    os.utime(path, (then, then))
    return path


def test_a_slide_is_claimed_by_one_and_free_again_once_it_is_released(folder: Path) -> None:
    mine, theirs = Claims(folder, 60), Claims(folder, 60)
    assert mine.take("a")
    assert not theirs.take("a")
    assert theirs.take("b")
    assert theirs.holder("a") == f"{os.uname().nodename}:{os.getpid()}"
    mine.release("a")
    assert theirs.take("a")
    mine.close()
    theirs.close()
    assert not folder.parent.exists()


def test_a_strangers_claim_is_left_while_it_lives_and_taken_over_when_it_is_stale(
    folder: Path,
) -> None:
    claims = Claims(folder, 60)
    strangers(folder, "alive", age_s=30)
    strangers(folder, "ahead", age_s=-3600)
    strangers(folder, "stale", age_s=90)
    taken = {name: claims.take(name) for name in ("alive", "ahead", "stale")}
    assert taken == {"alive": False, "ahead": False, "stale": True}
    claims.close()


def test_a_claim_of_a_process_of_this_system_that_ended_is_taken_over_at_once(folder: Path) -> None:
    claims = Claims(folder, 3600)
    assert claims.take("mine")
    ((own, _),) = read_claims(folder)
    if not own.machine:
        pytest.skip("this system does not name itself")
    here = {"machine": own.machine, "process_id": own.process_id}
    strangers(folder, "same number, another process", 0, **here, process_start="1")
    strangers(folder, "gone", 0, **{**here, "process_id": 2**22 + 1}, process_start="1")
    strangers(folder, "lives", 0, **here, process_start=own.process_start)
    assert claims.take("same number, another process")
    assert claims.take("gone")
    assert not claims.take("lives")
    claims.close()


def test_of_many_that_find_a_stale_claim_one_gets_it(folder: Path) -> None:
    everyone = [Claims(folder, 5) for _ in range(16)]
    for round_ in range(20):
        strangers(folder, f"s{round_}", age_s=90)
        together = threading.Barrier(len(everyone))
        got = []

        def take(claims: Claims, name: str, start: threading.Barrier, got: list[bool]) -> None:
            start.wait()
            got.append(claims.take(name))

        threads = [
            threading.Thread(target=take, args=(claims, f"s{round_}", together, got))
            for claims in everyone
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(got) == 1
    for claims in everyone:
        claims.close()


def test_a_sign_of_life_is_given_while_the_slide_is_worked_on(folder: Path) -> None:
    claims, others = Claims(folder, 0.6), Claims(folder, 0.6)
    # Only the age counts for a process of another machine.
    others._me = ("node7", 7, "another", "1")
    assert claims.take("a")
    until = time.monotonic() + 1.5
    while time.monotonic() < until:
        assert not others.take("a")
        time.sleep(0.05)
    claims._over.set()
    time.sleep(1.0)
    assert others.take("a")
    # Who lost a slide does not give away the claim of its new owner.
    claims.release("a")
    assert claim_path(folder, "a").exists()
    claims.close()
    others.close()


@pytest.mark.parametrize("name", ["../../a", "a/b", "..", "~", "C:\\x", "Prostatée 1 (2)"])
def test_no_name_of_a_slide_leads_out_of_the_folder(name: str, folder: Path) -> None:
    assert claim_path(folder, name).resolve().parent == folder.resolve()
    claims = Claims(folder, 60)
    assert claims.take(name)
    assert [claim.slide_id for claim, _ in read_claims(folder)] == [name]
    claims.close()


def test_one_at_a_time_writes_a_common_table(tmp_path: Path) -> None:
    table = tmp_path / "count"
    table.write_text("0")

    def add() -> None:
        for _ in range(5):
            with alone(tmp_path / "claims" / "tables", "count"):
                count = int(table.read_text())
                time.sleep(0.002)
                table.write_text(str(count + 1))

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert table.read_text() == "20"


def test_the_time_is_that_of_the_folder(tmp_path: Path) -> None:
    assert abs(server_time(tmp_path / "new") - time.time()) < 5
    assert not list((tmp_path / "new").iterdir())
