from __future__ import annotations

import json
import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from hvit_cli.cli.app import app
from hvit_cli.storage.features import write_features

RUNNER = CliRunner()


def everything(folder: Path) -> dict[str, int]:
    return {str(f): f.stat().st_mtime_ns for f in folder.rglob("*") if f.is_file()}


@pytest.mark.parametrize(
    "command",
    ["segment", "tile", "embed", "predict", "heatmap", "measure", "stress", "report"],
)
def test_nothing_is_written(command: str, slides: Path, model: Path, tmp_path: Path) -> None:
    work = tmp_path / "not-there"
    before = everything(tmp_path)
    more = [] if command in ("segment", "tile") else ["--model", str(model)]
    ended = RUNNER.invoke(app, [command, str(slides), "-w", str(work), "--dry-run", *more])
    assert ended.exit_code == 0, ended.output
    assert "slides: 2 (2 .tiff)" in ended.stdout
    assert "0 done by the logs, 0 failed, 2 pending" in ended.stdout
    assert "time: unknown" in ended.stdout
    assert everything(tmp_path) == before
    assert not work.exists()


def test_the_estimate_from_every_slide_is_what_the_run_then_does(
    slides: Path, tmp_path: Path
) -> None:
    work = tmp_path / "out"
    arguments = ["tile", str(slides), "-w", str(work), "--json"]
    told = json.loads(RUNNER.invoke(app, [*arguments, "--dry-run"]).stdout)
    rows = json.loads(RUNNER.invoke(app, arguments).stdout)
    assert told["is_estimated"]
    assert told["looked_at"] == 2
    assert told["regions"] == sum(row["n_regions"] for row in rows)
    assert told["patches"] == sum(row["n_patches"] for row in rows)
    told = json.loads(RUNNER.invoke(app, [*arguments, "--dry-run"]).stdout)
    assert (told["done"], told["pending"], told["is_estimated"]) == (2, 0, False)
    assert told["seconds"] == 0


def test_a_slide_that_cannot_be_read_is_a_problem_and_no_end(slides: Path, tmp_path: Path) -> None:
    (slides / "broken.svs").write_bytes(b"no slide")
    arguments = ["tile", str(slides), "-w", str(tmp_path / "out"), "--dry-run"]
    ended = RUNNER.invoke(app, arguments)
    assert ended.exit_code == 0
    assert "problem: " in ended.stdout
    assert "broken.svs" in ended.stdout


def test_a_run_writes_down_what_it_left_out(slides: Path, tmp_path: Path) -> None:
    work, table = tmp_path / "out", tmp_path / "exclude.csv"
    table.write_text("slide_id\nbare\n")
    RUNNER.invoke(app, ["tile", str(slides), "-w", str(work), "--exclude", str(table)])
    (stage,) = json.loads(RUNNER.invoke(app, ["status", str(work), "--json"]).stdout)
    assert (stage["planned"], stage["excluded"], stage["pending"]) == (1, 1, 0)


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """Features of 24 made-up slides in `features`, `labels.csv` and right `predictions.csv`."""
    made = runpy.run_path(str(Path(__file__).parents[1] / "training" / "cohort_on_disk.py"))
    labels = made["write_cohort"](tmp_path / "features" / "made-up-1", 24)
    for name, heading, row in (
        ("labels", "slide_id,label,site", "{},{},{}"),
        ("predictions", "slide_id,grade,score", "{},{},{}.25"),
    ):
        rows = [row.format(slide, grade, grade) for slide, grade in labels.items()]
        (tmp_path / f"{name}.csv").write_text("\n".join([heading, *rows]) + "\n")
    return tmp_path


def test_an_evaluation_says_what_it_would_match_and_write(cohort: Path) -> None:
    out = cohort / "numbers"
    arguments = [
        *("evaluate", str(cohort / "predictions.csv"), str(cohort / "labels.csv")),
        *("-o", str(out), "--by", "site", "--worst", "2", "-w", str(cohort)),
    ]
    before = everything(cohort)
    told = json.loads(RUNNER.invoke(app, [*arguments, "--dry-run", "--json"]).stdout)
    assert everything(cohort) == before
    assert not out.exists()
    assert (told["match"]["expected"], told["match"]["found"]) == (24, 24)
    assert told["parts"] == 6
    assert told["replaced"] == []
    assert 0 < told["seconds"] < 60
    assert RUNNER.invoke(app, arguments).exit_code == 0
    assert {str(file) for file in out.iterdir()} == set(told["files"])
    again = json.loads(RUNNER.invoke(app, [*arguments, "--dry-run", "--json"]).stdout)
    assert again["replaced"] == told["files"]
    said = RUNNER.invoke(app, [*arguments, "--dry-run"]).stdout
    assert "24 expected, 24 found" in said
    assert "scores.png, replaced" in said


def test_an_evaluation_that_could_not_begin_ends_as_it_would(cohort: Path) -> None:
    (cohort / "labels.csv").write_text("slide_id,label\nnobody,3\n")
    tables = [str(cohort / "predictions.csv"), str(cohort / "labels.csv")]
    for dry in ([], ["--dry-run"]):
        ended = RUNNER.invoke(app, ["evaluate", *tables, *dry])
        assert ended.exit_code == 1
        assert "nobody" in ended.stderr


@pytest.mark.parametrize("target", ["clam", "trident", "stamp", "dense"])
def test_a_conversion_to_others_takes_the_disk_that_was_told(target: str, cohort: Path) -> None:
    out = cohort / "theirs"
    arguments = ["convert", str(cohort / "features"), "--to", target, "-o", str(out), "--json"]
    before = everything(cohort)
    told = json.loads(RUNNER.invoke(app, [*arguments, "--dry-run"]).stdout)
    assert everything(cohort) == before
    assert (told["slides"], told["done"], told["pending"], told["tried"]) == (24, 0, 24, 5)
    rows = json.loads(RUNNER.invoke(app, arguments).stdout)
    # From five slides of one to four regions each.
    patches = sum(row["n_patches"] for row in rows)
    assert 0.5 < told["patches"] / patches < 2
    # Beside the arrays, a file of these few numbers is mostly its own description.
    assert told["disk_bytes"] > 0
    again = json.loads(RUNNER.invoke(app, [*arguments, "--dry-run"]).stdout)
    assert (again["done"], again["pending"], again["seconds"]) == (24, 0, 0)
    assert again["disk_bytes"] == 0


def test_the_disk_of_a_conversion_is_that_of_its_arrays(cohort: Path) -> None:
    """Large features, where a file's own description counts for nothing."""
    made = runpy.run_path(str(Path(__file__).parents[1] / "training" / "cohort_on_disk.py"))
    slide = made["slide_features"]("large", 3)
    wide = np.tile(slide.features, (1, 400))
    write_features(cohort / "large" / "large.h5", replace(slide, features=wide))
    for target in ("clam", "trident", "stamp", "dense"):
        out = cohort / target
        arguments = ["convert", str(cohort / "large"), "--to", target, "-o", str(out), "--json"]
        told = json.loads(RUNNER.invoke(app, [*arguments, "--dry-run"]).stdout)
        assert RUNNER.invoke(app, arguments).exit_code == 0
        written = sum(
            file.stat().st_size for file in out.rglob("*") if file.suffix in (".h5", ".pt")
        )
        assert told["disk_bytes"] == pytest.approx(written, rel=0.2), target


def test_a_conversion_from_others_says_what_is_wrong_and_writes_nothing(tmp_path: Path) -> None:
    foreign = runpy.run_path(
        str(Path(__file__).parents[1] / "storage" / "foreign" / "folders_on_disk.py")
    )
    for number in range(3):
        foreign["write_trident"](
            tmp_path / "job", f"s{number}", foreign["cells"](6, 5, 0.5, seed=1)
        )
    next((tmp_path / "job").rglob("s1.h5")).write_bytes(b"no HDF5")
    work = tmp_path / "work"
    arguments = ["convert", str(tmp_path / "job"), "--from", "trident", "-o", str(work)]
    before = everything(tmp_path)
    ended = RUNNER.invoke(app, [*arguments, "--dry-run"])
    assert ended.exit_code == 0, ended.output
    assert "slides: 3" in ended.stdout
    assert "problem: " in ended.stdout and "s1.h5" in ended.stdout
    assert everything(tmp_path) == before
    assert not work.exists()
    assert RUNNER.invoke(app, arguments).exit_code == 3
    told = json.loads(RUNNER.invoke(app, [*arguments, "--dry-run", "--json"]).stdout)
    assert (told["done"], told["failed"], told["pending"]) == (2, 1, 0)
    ended = RUNNER.invoke(app, [*arguments, "--from", "original", "--model", "--dry-run"])
    assert ended.exit_code == 2
