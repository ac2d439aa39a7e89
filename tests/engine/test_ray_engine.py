"""A Ray cluster of two nodes on this machine, of which a worker and then a node are killed."""

from __future__ import annotations

import collections
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hvit_cli.engine.execute import run_job
from hvit_cli.engine.ray_engine import share_of_cluster
from hvit_cli.errors import WorkerError
from hvit_cli.settings.running import RunSettings
from hvit_cli.slides.entry import SlideEntry
from hvit_cli.storage.status import logged, read_status, status_logs
from hvit_cli.storage.work import WorkFolder

HAS_RAY = importlib.util.find_spec("ray") is not None
needs_ray = pytest.mark.skipif(not HAS_RAY, reason="pip install 'hvit[ray]'")

START = """
import os, signal, sys, time
from pathlib import Path
import ray
from ray.cluster_utils import Cluster
from slide_jobs import WritingJob
from hvit_cli.engine.execute import run_job
from hvit_cli.errors import HvitError
from hvit_cli.settings.running import RunSettings
from hvit_cli.slides.entry import SlideEntry
from hvit_cli.storage.work import WorkFolder

work = WorkFolder(Path(sys.argv[1]))
entries = [SlideEntry(slide_id=f"s{i:02}", path=Path(f"s{i:02}.svs")) for i in range(24)]
small = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
cluster = Cluster(initialize_head=True, head_node_args=small)
"""
KILLING = (
    START
    + """
second = cluster.add_node(**small)
os.environ["RAY_ADDRESS"] = cluster.address
job = WritingJob(work=work, seconds=0.5)
pids, killed = set(), []
for record in run_job(entries, job, RunSettings(engine="ray", jobs=2, retries=2)):
    assert record.row.status == "done", record
    pid = int(str(record.product).split()[2])
    pids.add(pid)
    if record.number == 4 and not killed:
        killed.append(pid)
        os.kill(pid, signal.SIGKILL)
    if record.number == 12 and len(killed) == 1:
        killed.append("node")
        cluster.remove_node(second, allow_graceful=False)
assert killed and killed[-1] == "node"
assert os.getpid() not in pids and len(pids) >= 3, pids
print("all done")
"""
)
LACKING = (
    START
    + """
os.environ["RAY_ADDRESS"] = cluster.address
job = WritingJob(work=work)
try:
    list(run_job(entries, job, RunSettings(engine="ray", gpus=1, worker_timeout=4)))
except HvitError as error:
    print(error)
"""
)


def run_script(text: str, tmp_path: Path) -> str:
    script = tmp_path / "script.py"
    script.write_text(text)
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    variables = {"PYTHONPATH": path, "RAY_USAGE_STATS_ENABLED": "0"}
    ended = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "work")],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    return ended.stdout


@needs_ray
@pytest.mark.slow
def test_every_slide_is_done_once_though_a_worker_and_a_node_are_killed(tmp_path: Path) -> None:
    assert "all done" in run_script(KILLING, tmp_path)
    work = tmp_path / "work"
    names = [f"s{i:02}" for i in range(24)]
    assert all((work / f"{name}.txt").exists() for name in names)
    assert {row.slide_id: row.status for row in read_status(work)} == dict.fromkeys(names, "done")
    rows = [e for log in status_logs(work) for _, e in logged(log.read_bytes())]
    ends = collections.Counter(e["slide_id"] for e in rows if e["status"] == "done")
    assert ends == dict.fromkeys(names, 1)
    lost = [e["reason"] for e in rows if e["status"] == "failed"]
    assert 1 <= len(lost) <= 3
    assert all(reason.startswith("killed: its worker was lost: ") for reason in lost)


@needs_ray
@pytest.mark.slow
def test_resources_that_the_cluster_does_not_have_are_an_error_and_no_silence(
    tmp_path: Path,
) -> None:
    said = run_script(LACKING, tmp_path)
    assert "the Ray cluster provided no worker for 4 s" in said
    assert "0 GPU free" in said
    assert "1 CPU, 1 GPU on one of its machines" in said


@pytest.mark.skipif(HAS_RAY, reason="Ray is installed")
def test_without_ray_the_error_says_how_to_get_it(tmp_path: Path) -> None:
    from slide_jobs import WritingJob

    entries = [SlideEntry(slide_id="a", path=Path("a.svs"))]
    with pytest.raises(WorkerError, match=r"pip install 'hvit\[ray\]'"):
        list(run_job(entries, WritingJob(work=WorkFolder(tmp_path)), RunSettings(engine="ray")))


@pytest.mark.parametrize(
    ("total", "asked", "share"),
    [
        ({"CPU": 8.0}, {}, (1, 8)),
        ({"CPU": 8.0}, {"jobs": 2}, (4, 2)),
        ({"CPU": 8.0}, {"jobs": 50}, (1, 20)),
        ({"CPU": 32.0, "GPU": 4.0}, {"gpus": 1}, (8, 4)),
        ({"CPU": 32.0, "GPU": 4.0}, {"gpus": 0.5}, (4, 8)),
        ({"CPU": 8.0}, {"gpus": 1}, (8, 1)),
    ],
)
def test_a_cluster_is_shared_out_by_its_gpus_or_its_processors(
    total: dict[str, float], asked: dict[str, float], share: tuple[float, int]
) -> None:
    running = RunSettings(engine="ray", **asked)  # type: ignore[arg-type]
    assert share_of_cluster(total, running, slides=20) == share
