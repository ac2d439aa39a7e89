"""What a run writes does not depend on processes, order, batches, engine or interruption."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hvit_cli.demo.biopsy import draw_biopsy
from hvit_cli.demo.cohort import CohortPlan, plan_cohort
from hvit_cli.demo.slide import write_biopsy
from hvit_cli.pipelines.predict import predict
from hvit_cli.settings import EmbeddingSettings, ReadingSettings, RunSettings, TissueSettings
from hvit_cli.steps.choose import ModelRequest
from hvit_cli.storage.status import logged, status_logs
from hvit_cli.storage.work import WorkFolder


@pytest.fixture
def cohort(slides: Path) -> list[Path]:
    for name in ("copy", "third"):
        shutil.copy(slides / "drawn.tiff", slides / f"{name}.tiff")
    return sorted(slides.glob("*.tiff"))


def start(
    sources: list[Path], work: Path, model: Path, batch_size: int = 16, **running: Any
) -> Any:
    return predict(
        sources,
        work=WorkFolder(work),
        out=None,
        request=ModelRequest(model=str(model)),
        reading=ReadingSettings(),
        tissue=TissueSettings(),
        embedding=EmbeddingSettings(device="cpu", batch_size=batch_size),
        running=RunSettings(**{"jobs": 1, **running}),
    )


def contents(work: Path) -> dict[str, str]:
    """Every product, by its hash; logs hold times, and are no products."""
    folders = ("masks", "contours", "tiles", "features", "qc")
    files = [f for folder in folders for f in (work / folder).rglob("*") if f.is_file()]
    return {
        str(file.relative_to(work)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in [*files, work / "predictions.csv"]
    }


def test_processes_order_and_interruption_change_no_byte(
    cohort: list[Path], model: Path, tmp_path: Path
) -> None:
    assert len(list(start(cohort, tmp_path / "one", model))) == 4
    expected = contents(tmp_path / "one")
    assert len([name for name in expected if name.startswith("features")]) == 3

    assert len(list(start(cohort[::-1], tmp_path / "two", model, jobs=2))) == 4
    assert contents(tmp_path / "two") == expected

    cut = start(cohort, tmp_path / "cut", model)
    next(cut)
    next(cut)
    cut.close()
    assert contents(tmp_path / "cut") != expected
    list(start(cohort, tmp_path / "cut", model))
    assert contents(tmp_path / "cut") == expected


def test_batches_change_no_byte(cohort: list[Path], model: Path, tmp_path: Path) -> None:
    list(start(cohort, tmp_path / "16", model))
    for size in (5, 64):
        list(start(cohort[::-1], tmp_path / str(size), model, size))
        assert contents(tmp_path / str(size)) == contents(tmp_path / "16")


WAYS = {
    "another order": ("--batch-size", "32", "--jobs", "1"),
    "two processes": ("--batch-size", "32", "--jobs", "2"),
    "small batches": ("--batch-size", "5", "--jobs", "1"),
    "two processes, small batches": ("--batch-size", "1", "--jobs", "2"),
}


def command(sources: list[Path], work: Path, *options: str, threads: int = 1) -> None:
    """The real command with the bundled model."""
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "hvit_cli", "predict", *map(str, sources)),
            *("-w", str(work), "--model", "demo", "--device", "cpu", *options),
        ],
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr


@pytest.fixture(scope="module")
def biopsies(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three drawn biopsies, as large as the bundled model wants them."""
    folder = tmp_path_factory.mktemp("biopsies")
    plans = [plan for plan, _ in plan_cohort(CohortPlan(name="drawn", slides=3, seed=5))]
    slides = [folder / f"{plan.slide_id}.tiff" for plan in plans]
    for plan, slide in zip(plans, slides, strict=True):
        write_biopsy(draw_biopsy(plan), slide, folder / f"truth-{plan.slide_id}.tif")
    return slides


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_bundled_model_gives_the_same_bytes_in_every_way(
    precision: str, biopsies: list[Path], tmp_path: Path
) -> None:
    number = ("--precision", precision)
    command(biopsies, tmp_path / "one", "--batch-size", "32", "--jobs", "1", *number, threads=2)
    expected = contents(tmp_path / "one")
    assert len([name for name in expected if name.startswith("features")]) == 3
    for name, options in WAYS.items():
        command(biopsies[::-1], tmp_path / name, *options, *number)
        assert contents(tmp_path / name) == expected, name


RAY = """
import os, signal, sys
from pathlib import Path
from ray.cluster_utils import Cluster

sys.path.insert(0, sys.argv[1])
import test_same_bytes as test

small = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
cluster = Cluster(initialize_head=True, head_node_args=small)
cluster.add_node(**small)
os.environ["RAY_ADDRESS"] = cluster.address
model, work, sources = Path(sys.argv[2]), Path(sys.argv[3]), [Path(p) for p in sys.argv[4:]]
killed = 0
for record in test.start(sources, work, model, 5, engine="ray", jobs=2, retries=2):
    assert record.row.status in ("done", "no_tissue"), record
    if not killed:
        killed = test.actor_below(os.getpid())
        os.kill(killed, signal.SIGKILL)
assert killed
print("all done")
"""


def actor_below(process_id: int) -> int:
    """A process of Ray that does slides, somewhere below another one."""
    parents, actors = {}, []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[folder.name] = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            if b"_Server" in (folder / "cmdline").read_bytes():
                actors.append(folder.name)
        except OSError:
            continue  # it ended meanwhile
    for actor in actors:
        above = actor
        while above in parents and above != str(process_id):
            above = parents[above]
        if above == str(process_id):
            return int(actor)
    raise LookupError("no actor was found")


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("ray"), reason="pip install 'hvit[ray]'")
def test_a_ray_cluster_whose_worker_is_killed_writes_the_same_bytes(
    cohort: list[Path], model: Path, tmp_path: Path
) -> None:
    list(start(cohort, tmp_path / "one", model))
    script = tmp_path / "script.py"
    script.write_text(RAY)
    ended = subprocess.run(
        [
            *(sys.executable, str(script), str(Path(__file__).parent), str(model)),
            *(str(tmp_path / "two"), *map(str, cohort[::-1])),
        ],
        env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert contents(tmp_path / "two") == contents(tmp_path / "one")


def test_grades_of_a_killed_process_reach_the_table_by_the_next_one(
    cohort: list[Path], model: Path, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    list(start(cohort, work, model))
    whole = (work / "predictions.csv").read_text()
    (work / "predictions.csv").unlink()
    # As if killed: rows wait, and no table was written.
    killed = start(cohort[:2], work, model)
    next(killed)
    next(killed)
    (waiting,) = (work / "status" / "waiting").rglob("*.jsonl")
    kept = waiting.read_text()
    killed.close()
    (work / "predictions.csv").unlink()
    waiting.write_text(kept)
    list(start(cohort[2:], work, model))
    graded = (work / "predictions.csv").read_text().splitlines()
    assert set(graded) == {line for line in whole.splitlines() if not line.startswith("bare")}
    assert not list((work / "status" / "waiting").rglob("*.jsonl"))


def test_three_shards_grade_every_slide_once(
    cohort: list[Path], model: Path, tmp_path: Path
) -> None:
    list(start(cohort, tmp_path / "one", model))
    records = [
        record
        for part in (3, 1, 2)
        for record in start(cohort, tmp_path / "shards", model, shard=f"{part}/3")
    ]
    assert sorted(r.row.slide_id for r in records) == sorted(path.stem for path in cohort)
    assert contents(tmp_path / "shards") == contents(tmp_path / "one")
    rows = [e for log in status_logs(tmp_path / "shards") for _, e in logged(log.read_bytes())]
    assert len(rows) == 4
