"""What a run writes does not depend on processes, order or interruption."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import pytest

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


def start(sources: list[Path], work: Path, model: Path, **running: Any) -> Any:
    return predict(
        sources,
        work=WorkFolder(work),
        out=None,
        request=ModelRequest(model=str(model)),
        reading=ReadingSettings(),
        tissue=TissueSettings(),
        embedding=EmbeddingSettings(device="cpu", batch_size=16),
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
