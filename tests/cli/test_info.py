from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from hvit_cli.cli.app import HvitGroup
from hvit_cli.cli.info import info


def run(*arguments: object) -> Result:
    app = typer.Typer(cls=HvitGroup)
    app.callback()(lambda: None)
    app.command()(info)
    return CliRunner().invoke(app, ["info", *map(str, arguments)])


def test_one_slide_in_words(data: Path) -> None:
    result = run(data / "slides" / "prostate_tcga_0.25um.tif")
    assert result.exit_code == 0
    assert "0.25 µm/px (40000 px per centimeter, TIFF resolution tags): taken" in result.stdout
    assert "1: 2000 × 1000 px, 1/2, 0.5 µm/px, read" in result.stdout
    assert "would be read at 0.5 µm/px, the pixels of level 1" in result.stdout
    assert "1024 µm or 4096 level-0 px wide" in result.stdout


def test_the_only_one_with_a_problem_ends_with_1_and_one_line(data: Path) -> None:
    result = run(data / "malformed" / "mpp_zero.svs")
    assert result.exit_code == 1
    assert "vendor    0 µm/px (aperio metadata): not above 0" in result.stdout
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1
    assert "mpp_zero.svs: the slide's spacing is refused; found 0 µm/px" in lines[0]


def test_some_with_problems_end_with_3_and_a_table_of_all(data: Path, tmp_path: Path) -> None:
    result = run(data / "slides", "--csv", tmp_path / "slides.csv")
    assert result.exit_code == 3
    assert "2 of 12 cannot be used as they are" in result.stderr
    with (tmp_path / "slides.csv").open(encoding="utf-8") as file:
        rows = {row["slide_id"]: row for row in csv.DictReader(file)}
    assert len(rows) == 12
    assert rows["TCGA-CR-7395-01A-01-TS1"]["problem"] == "the slide states no spacing"
    assert rows["test3-TRITC_2__560_"]["vendor"] == "hamamatsu"
    assert rows["biopsy_c"]["resampled"] == "True"


def test_all_well_ends_with_0(data: Path) -> None:
    result = run(data / "slides" / "biopsy_a.tiff", data / "slides" / "biopsy_b.tiff")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[0].split()[:3] == ["slide", "vendor", "size"]


@pytest.mark.parametrize("name", ["biopsy_a.tiff", "TCGA-CR-7395-01A-01-TS1.svs"])
def test_json_holds_everything(data: Path, name: str) -> None:
    result = run(data / "slides" / name, "--json")
    (record,) = json.loads(result.stdout)
    assert record["path"].endswith(name)
    assert len(record["levels"]) in (2, 3)
    assert isinstance(record["sources"], list)


def test_brackets_in_a_path_survive(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "[batch1]"
    folder.mkdir()
    shutil.copyfile(data / "slides" / "panda_ink_1.944um.tif", folder / "[red]a.tif")
    result = run(folder)
    assert "[batch1]/[red]a.tif" in result.stdout
    assert "[batch1]/[red]a.tif" in result.stderr


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    result = run(tmp_path)
    assert result.exit_code == 1
    assert "no slides found" in result.stderr
