"""Several uncoordinated processes on one folder; one of them is killed in the middle."""

from __future__ import annotations

import collections
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hvit_cli.engine.claims import read_claims
from hvit_cli.storage.status import logged, read_status, status_logs

SCRIPT = """
import os
import sys
import time
from pathlib import Path
from slide_jobs import WritingJob
from hvit_cli.engine.execute import run_job
from hvit_cli.settings.running import RunSettings
from hvit_cli.slides.entry import SlideEntry
from hvit_cli.storage.work import WorkFolder

if __name__ == "__main__":
    work, seconds, ttl = Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
    if sys.argv[4] == "stranger":
        # As on another machine: whether the process lives cannot be seen from here.
        import hvit_cli.engine.claims as claims
        claims.this_system = lambda: "another"
    entries = [SlideEntry(slide_id=f"s{i:02}", path=Path(f"s{i:02}.svs")) for i in range(30)]
    job = WritingJob(work=WorkFolder(work), seconds=seconds)
    # Imports take as long as they take: all begin together.
    ready = work.parent / "ready"
    ready.mkdir(exist_ok=True)
    (ready / str(os.getpid())).touch()
    while len(list(ready.iterdir())) < 3:
        time.sleep(0.01)
    ended = list(run_job(entries, job, RunSettings(jobs=1, claim_ttl=ttl)))
    assert len(ended) == 30
    assert all(record.row.status == "done" for record in ended), ended
    print(sum(record.is_elsewhere for record in ended))
"""


def start(tmp_path: Path, ttl_s: float, kind: str) -> subprocess.Popen[str]:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    return subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "work"), "0.1", str(ttl_s), kind],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        text=True,
    )


def times_done(work: Path) -> collections.Counter[str]:
    """How often each slide was made, reuse apart."""
    logs = [logged(log.read_bytes()) for log in status_logs(work)]
    return collections.Counter(e["slide_id"] for log in logs for _, e in log if not e["reason"])


@pytest.mark.parametrize(("kind", "ttl_s"), [("local", 300.0), ("stranger", 2.0)])
def test_three_processes_do_every_slide_once_though_one_is_killed(
    kind: str, ttl_s: float, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    victim = start(tmp_path, ttl_s, kind)
    others = [start(tmp_path, ttl_s, "local") for _ in range(2)]
    until = time.monotonic() + 60
    while times_done(work).total() < 6 or str(victim.pid) not in held_by(work):
        assert time.monotonic() < until
        time.sleep(0.01)
    victim.send_signal(signal.SIGKILL)
    victim.communicate()
    said = [other.communicate(timeout=60)[0] for other in others]
    assert [other.returncode for other in others] == [0, 0]
    names = [f"s{i:02}" for i in range(30)]
    assert all((work / f"{name}.txt").exists() for name in names)
    done = times_done(work)
    # A slide whose product was written and whose line was not, because the process was killed
    # between them, is found there by the next one.
    reused = {row.slide_id for row in read_status(work) if row.reason == "reused"}
    assert {name: done[name] for name in names if name not in reused} == dict.fromkeys(
        set(names) - reused, 1
    )
    assert len(reused - set(done)) <= 1
    assert sum(int(text) for text in said) > 0
    assert not (work / "claims").exists()


def held_by(work: Path) -> set[str]:
    folder = work / "claims" / "tile"
    return {str(claim.process_id) for claim, _ in read_claims(folder)} if folder.exists() else set()
