from __future__ import annotations

import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from hvit_cli.cli.app import HvitGroup
from hvit_cli.cli.train import train

SMALL = [
    *("--region-dim", "16", "--region-depth", "1", "--region-heads", "2"),
    *("--slide-dim", "16", "--slide-depth", "1", "--slide-heads", "2"),
    *("--epochs", "2", "--learning-rate", "0.002", "--device", "cpu"),
]


@pytest.fixture(scope="session")
def cohort() -> SimpleNamespace:
    """The made-up cohort of the tests of training."""
    path = Path(__file__).parents[1] / "training" / "cohort_on_disk.py"
    return SimpleNamespace(**runpy.run_path(str(path)))


@pytest.fixture
def folder(tmp_path: Path, cohort: SimpleNamespace) -> Path:
    work = tmp_path / "[batch1] work"
    labels = cohort.write_cohort(work / "features/made-up-1", 24)
    rows = "".join(f"{slide_id},{grade}\n" for slide_id, grade in labels.items())
    (work / "labels.csv").write_text("slide_id,label\n" + rows)
    return work


def hvit_train(*arguments: object) -> Result:
    app = typer.Typer(cls=HvitGroup)
    app.callback()(lambda: None)
    app.command()(train)
    return CliRunner().invoke(app, ["train", *map(str, arguments)])


def test_features_and_labels_to_a_model_folder_in_the_work_folder(folder: Path) -> None:
    result = hvit_train(folder, folder / "labels.csv", "-w", folder, *SMALL)
    assert result.exit_code == 0, result.output
    assert (folder / "models/masked/model.json").is_file()
    assert "epoch 2/2  loss" in result.stderr
    assert "masked: 19 slides train, 5 tune" in result.stderr
    assert "[batch1]" in result.stderr
    assert "best epoch" in result.stdout
    assert "epoch 2/2" not in result.stdout


def test_json_holds_every_epoch_and_a_second_run_says_it_is_done(folder: Path) -> None:
    arguments = (folder, folder / "labels.csv", "-o", folder / "toy", "--plain", "--json", *SMALL)
    first, second = hvit_train(*arguments), hvit_train(*arguments)
    answer = json.loads(first.stdout)
    assert [record["epoch"] for record in answer["epochs"]] == [1, 2]
    assert answer["model"] == str(folder / "toy")
    assert (folder / "toy/plain.safetensors").is_file()
    assert "done already" in second.stderr
    assert json.loads(second.stdout)["epochs"][1]["tune_loss"] == answer["epochs"][1]["tune_loss"]


def test_problems_are_one_line_and_the_right_exit_code(folder: Path) -> None:
    (folder / "bad.csv").write_text("slide_id,label\nslide000,9\nslide001,\nnobody,1\n")
    result = hvit_train(folder, folder / "bad.csv", "-w", folder, *SMALL)
    assert result.exit_code == 1
    (line,) = [text for text in result.stderr.splitlines() if text.startswith("Error")]
    for part in ("unknown grades", "ids without a label", "without features", "without a row"):
        assert part in line
    assert "Traceback" not in result.output
    assert hvit_train(folder, folder / "labels.csv", "--epochs", "0").exit_code == 2
    assert hvit_train(folder / "absent", folder / "labels.csv").exit_code == 2
