"""`measure`, `stress` and `report` with several processes: the same results, and failures alone."""

from __future__ import annotations

import multiprocessing
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hvit_cli.engine.run import SlideRecord
from hvit_cli.pipelines.blind import blind
from hvit_cli.pipelines.measure import MeasureRequest, measure, write_measures
from hvit_cli.pipelines.report import report
from hvit_cli.pipelines.stress import stress, write_stress
from hvit_cli.settings import (
    EmbeddingSettings,
    HeatmapSettings,
    MeasureSettings,
    ReadingSettings,
    ReportSettings,
    RunSettings,
    StressSettings,
    TissueSettings,
)
from hvit_cli.steps.choose import ModelRequest
from hvit_cli.storage.work import WorkFolder

MEASURES = MeasureSettings(steps=0, draws=20, maps=("attention",), stability_slides=1)
STRESS = StressSettings(kinds=("white", "other"), draws=20)
SMALL = ReportSettings(picture_px=320, top=1)


@pytest.fixture
def cohort(slides: Path) -> list[Path]:
    """Two slides with tissue, one of bare glass, and one that was cut off in its middle."""
    shutil.copy(slides / "drawn.tiff", slides / "other.tiff")
    content = (slides / "drawn.tiff").read_bytes()
    (slides / "torn.tiff").write_bytes(content[: len(content) // 2])
    return sorted(slides.glob("*.tiff"))


def given(work: Path, model: Path, **running: Any) -> dict[str, Any]:
    return {
        "work": WorkFolder(work),
        "request": ModelRequest(model=str(model)),
        "reading": ReadingSettings(),
        "tissue": TissueSettings(),
        "embedding": EmbeddingSettings(device="cpu"),
        "running": RunSettings(**{"jobs": 1, **running}),
    }


def measured(cohort: list[Path], work: Path, model: Path, **running: Any) -> bytes:
    asked = MeasureRequest(models=(str(model),), truth=None, settings=MEASURES)
    options = {**given(work, model, **running), "request": asked, "out": work / "out"}
    records = list(measure(cohort, **options))
    assert {r.row.slide_id: r.row.status for r in records} == {
        "bare": "no_tissue",
        "drawn": "done",
        "other": "done",
        "torn": "failed",
    }
    write_measures(work / "out", [row for r in records for row in r.product or ()], MEASURES)
    return (work / "out/maps.csv").read_bytes() + (work / "out/summary.csv").read_bytes()


def stressed(
    cohort: list[Path], work: Path, model: Path, **running: Any
) -> Iterator[SlideRecord[Any]]:
    options = {**given(work, model, **running), "settings": STRESS, "out": work / "out"}
    return stress(cohort, **options)


def stress_table(records: list[SlideRecord[Any]], folder: Path) -> bytes:
    rows = [row for record in records for row in record.product or ()]
    return write_stress(folder, rows, STRESS).table.read_bytes()


def test_measures_do_not_depend_on_processes(
    cohort: list[Path], model: Path, tmp_path: Path
) -> None:
    one = measured(cohort, tmp_path / "one", model)
    assert one.count(b"other") > 0
    assert measured(cohort[::-1], tmp_path / "one", model) == one
    two = tmp_path / "two"
    # The slide that is embedded again is the first, so that the order stays.
    assert measured(cohort, two, model, jobs=2) == one


def test_stress_survives_the_death_of_a_process_and_comes_to_the_same(
    cohort: list[Path], model: Path, tmp_path: Path
) -> None:
    whole = [path for path in cohort if path.stem != "torn"]
    one = stress_table(list(stressed(whole, tmp_path / "one", model)), tmp_path / "a")
    running = stressed(whole, tmp_path / "two", model, jobs=2)
    first = next(running)
    victim = multiprocessing.active_children()[0]
    victim.kill()
    records = [first, *running]
    assert "failed" not in {record.row.status for record in records}
    assert stress_table(records, tmp_path / "b") == one


def test_two_stresses_of_one_folder_share_the_slides_and_both_tell_all(
    cohort: list[Path], model: Path, tmp_path: Path
) -> None:
    whole = [path for path in cohort if path.stem != "torn"]
    first, second = (stressed(whole, tmp_path / "work", model) for _ in range(2))
    begun = next(second)
    table = stress_table(list(first), tmp_path / "a")
    # Both attentions; white glass of two slides, and the one other glass that there is.
    assert table.count(b"\n") == 1 + 2 * (2 + 1)
    assert stress_table([begun, *second], tmp_path / "b") == table


def test_a_slide_that_takes_too_long_is_a_failed_one(
    cohort: list[Path], model: Path, tmp_path: Path
) -> None:
    records = list(stressed(cohort[1:2], tmp_path, model, timeout=0.05, retries=0))
    (failed,) = (record.row for record in records)
    assert failed.status == "failed"
    assert failed.reason.startswith("timeout: given up after")


@pytest.mark.slow
def test_reports_and_blinded_sheets_do_not_depend_on_processes(
    cohort: list[Path], model: Path, tmp_path: Path
) -> None:
    contents = []
    for jobs in (1, 2):
        work = tmp_path / f"work{jobs}"
        options = {**given(work, model, jobs=jobs), "maps": HeatmapSettings(), "settings": SMALL}
        pages = list(report(cohort, **options, out=tmp_path / f"pages{jobs}"))
        assert sorted(r.row.status for r in pages) == ["done", "done", "failed", "no_tissue"]
        sheets = list(blind(cohort, **options, out=tmp_path / f"sheets{jobs}"))
        assert sorted(len(record.product or ()) for record in sheets) == [0, 0, 1, 1]
        files = [tmp_path / f"sheets{jobs}/key.csv"]
        files += sorted((tmp_path / f"pages{jobs}").glob("*.html"))
        assert len(files) == 5
        contents.append([file.read_text().replace(f"work{jobs}", "work") for file in files])
    for one, two in zip(*contents, strict=True):
        assert one.replace("pages1", "pages2").replace("sheets1", "sheets2") == two
