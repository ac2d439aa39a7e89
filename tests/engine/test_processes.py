from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from slide_jobs import WritingJob

from hvit_cli.engine.execute import run_job
from hvit_cli.engine.run import SlideRecord
from hvit_cli.errors import ModelError
from hvit_cli.settings.running import RunSettings
from hvit_cli.slides.entry import SlideEntry
from hvit_cli.storage.work import WorkFolder


def entries(*names: str) -> list[SlideEntry]:
    return [SlideEntry(slide_id=name, path=Path(f"{name}.svs")) for name in names]


def run(work: Path, *names: str, seconds: float = 0.0, **running: object) -> list[SlideRecord[str]]:
    job = WritingJob(work=WorkFolder(work), seconds=seconds)
    return list(run_job(entries(*names), job, RunSettings(**running)))  # type: ignore[arg-type]


def ends(records: list[SlideRecord[str]]) -> dict[str, str]:
    return {r.row.slide_id: r.row.status for r in records}


def test_two_processes_do_all_slides_and_neither_is_this_one(tmp_path: Path) -> None:
    names = [f"s{i}" for i in range(6)]
    records = run(tmp_path, *names, jobs=2, seconds=0.3)
    assert ends(records) == dict.fromkeys(names, "done")
    assert [(r.number, r.total) for r in records] == [(i, 6) for i in range(1, 7)]
    products = {str(r.product) for r in records}
    assert all(product.startswith("light ") for product in products)
    workers = {int(product.split()[2]) for product in products}
    assert len(workers) == 2
    assert os.getpid() not in workers
    assert all((tmp_path / f"{name}.txt").exists() for name in names)
    assert not (tmp_path / "claims").exists()


def test_a_slide_that_kills_its_process_fails_by_signal_and_the_others_are_done(
    tmp_path: Path,
) -> None:
    records = run(tmp_path, "a", "killed", "b", "bad", "bug", "c", jobs=2, retries=0)
    assert ends(records) == {
        "a": "done",
        "b": "done",
        "c": "done",
        "killed": "failed",
        "bad": "failed",
        "bug": "failed",
    }
    reasons = {r.row.slide_id: r.row.reason for r in records}
    assert reasons["killed"].startswith("killed: its process was ended by SIGKILL")
    assert reasons["bad"] == "bad.svs: a tile cannot be decoded"
    assert reasons["bug"].startswith("unexpected ZeroDivisionError")
    assert "in misbehave" in WorkFolder(tmp_path).traceback("bug", "tile").read_text()


def test_a_slide_that_hangs_or_takes_too_much_memory_is_given_up(tmp_path: Path) -> None:
    records = run(tmp_path, "hung", "greedy", "a", jobs=2, retries=0, timeout=10, memory_limit=0.4)
    reasons = {r.row.slide_id: (r.row.status, r.row.reason.partition(":")[0]) for r in records}
    assert reasons == {
        "hung": ("failed", "timeout"),
        "greedy": ("failed", "memory"),
        "a": ("done", ""),
    }


def test_a_limit_alone_moves_the_work_to_a_process_that_can_be_ended(tmp_path: Path) -> None:
    (record,) = run(tmp_path, "a", jobs=1, timeout=60)
    assert str(os.getpid()) not in str(record.product)


def test_a_job_that_cannot_be_opened_ends_the_run_with_its_own_error(tmp_path: Path) -> None:
    job = WritingJob(work=WorkFolder(tmp_path), refused=True)
    with pytest.raises(ModelError, match="there is no such model"):
        list(run_job(entries("a", "b"), job, RunSettings(jobs=2)))
    assert not (tmp_path / "claims").exists()


SCRIPT = """
import sys
from pathlib import Path
from slide_jobs import WritingJob
from hvit_cli.engine.execute import run_job
from hvit_cli.settings.running import RunSettings
from hvit_cli.slides.entry import SlideEntry
from hvit_cli.storage.work import WorkFolder

if __name__ == "__main__":
    entries = [SlideEntry(slide_id=f"s{i:02}", path=Path(f"s{i:02}.svs")) for i in range(40)]
    job = WritingJob(work=WorkFolder(Path(sys.argv[1])), seconds=30)
    try:
        for record in run_job(entries, job, RunSettings(jobs=2)):
            pass
    except KeyboardInterrupt:
        sys.exit(130)
"""


def started(tmp_path: Path) -> tuple[subprocess.Popen[bytes], list[int]]:
    """A run of two processes that both have a slide."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    run = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "work")],
        env={**os.environ, "PYTHONPATH": path},
    )
    children = Path(f"/proc/{run.pid}/task/{run.pid}/children")
    claims = tmp_path / "work" / "claims" / "tile"
    until = time.monotonic() + 60
    while len(list(claims.glob("*.json"))) < 2:
        assert time.monotonic() < until
        time.sleep(0.1)
    time.sleep(1.0)
    return run, [int(child) for child in children.read_text().split()]


def is_alive(process_id: int) -> bool:
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks into /proc")
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_no_process_outlives_the_run_however_it_is_ended(
    sent: signal.Signals, code: int, tmp_path: Path
) -> None:
    run, children = started(tmp_path)
    assert len(children) >= 2
    run.send_signal(sent)
    assert run.wait(timeout=10) == code
    until = time.monotonic() + 5
    while any(is_alive(child) for child in children) and time.monotonic() < until:
        time.sleep(0.1)
    assert not [child for child in children if is_alive(child)]
    # A run that could say good-bye gives its slides back.
    assert (tmp_path / "work" / "claims").exists() == (sent == signal.SIGKILL)
