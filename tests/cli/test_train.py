from __future__ import annotations

import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer
from click.testing import Result
from safetensors.torch import load_file
from typer.testing import CliRunner

from hvit_cli.cli.app import HvitGroup
from hvit_cli.cli.app import app as whole_app
from hvit_cli.cli.train import train
from hvit_cli.storage.tables import read_table

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


def hvit_app(*arguments: object) -> Result:
    return CliRunner().invoke(whole_app, [*map(str, arguments)])


def test_features_and_labels_to_a_model_folder_in_the_work_folder(folder: Path) -> None:
    result = hvit_train(folder, folder / "labels.csv", "-w", folder, *SMALL)
    assert result.exit_code == 0, result.output
    assert (folder / "models/masked/model.json").is_file()
    assert "epoch 2/2  loss" in result.stderr
    assert "masked: 19 slides train, 5 tune" in result.stderr
    assert "[batch1]" in result.stderr
    assert "models/masked" in result.stdout
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


def test_folds_attentions_and_seeds_in_one_call(folder: Path) -> None:
    rows = [f"slide{i:03d},{i % 6}," + (",test" if i >= 18 else f"{i // 6},") for i in range(24)]
    (folder / "folds.csv").write_text("slide_id,label,fold,set\n" + "\n".join(rows) + "\n")
    arguments = (folder, folder / "labels.csv", "--folds", folder / "folds.csv", "-w", folder)
    result = hvit_app(
        "train", *arguments, "--attention", "masked", "plain", "--fold", 0, 2, "--seeds", 2,
        "--patience", 1, *SMALL,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    out = folder / "models/cross-validation"
    assert len(list(out.glob("*.safetensors"))) == 8
    assert "8 trainings: folds 0, 2 × masked and plain × seeds 2" in result.stderr
    assert "plain-fold2-seed1 (8/8)" in result.stderr
    assert "attention" in result.stdout
    assert "test, ensemble" in result.stdout
    assert "chose the epoch" in " ".join(result.stdout.split())
    again = hvit_app(
        "train", *arguments, "--attention", "masked", "plain", "--fold", 0, 2, "--seeds", 2,
        "--patience", 1, "--json", *SMALL,
    )  # fmt: skip
    answer = json.loads(again.stdout)
    assert [cell["set"] for cell in answer["results"]["table"]] == ["tune", "test"] * 2
    assert len(answer["epochs"]) == 8


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--attention", "masked", "plain"), "--folds"),
        (("--seeds", "3"), "--folds"),
        (("--attention", "plain", "--masked"), "one of them is enough"),
        (("--task", "ordinal", "--grades", "1-3"), "such as 0-3"),
        (("--grades", "0-3"), "isup has 6 classes"),
        (("--fold", "1"), "belong together"),
    ],
)
def test_options_that_contradict_each_other(
    folder: Path, options: tuple[str, ...], said: str
) -> None:
    result = hvit_app("train", folder, folder / "labels.csv", "-w", folder, *options, *SMALL)
    assert result.exit_code == 2, result.output
    assert said in " ".join(result.stderr.split())


@pytest.mark.parametrize("objective", ["classification", "ordinal"])
def test_the_graded_features_have_the_score_that_training_saw(folder: Path, objective: str) -> None:
    """`predict` follows the objective that the model folder records."""
    from hvit_cli.settings import EmbeddingSettings
    from hvit_cli.steps.choose import ChosenModel
    from hvit_cli.steps.grade import Grader
    from hvit_cli.storage.features import read_features
    from hvit_cli.storage.models import read_model

    rows = [f"slide{i:03d},{i % 4}," + (",test" if i >= 18 else f"{i // 6},") for i in range(24)]
    (folder / "folds.csv").write_text("slide_id,label,fold,set\n" + "\n".join(rows) + "\n")
    table = [row.rsplit(",", 2)[0] for row in rows]
    (folder / "labels.csv").write_text("slide_id,label\n" + "\n".join(table) + "\n")
    result = hvit_app(
        "train", folder, folder / "labels.csv", "--folds", folder / "folds.csv", "--fold", 1,
        "--task", "ordinal", "--grades", "0-3", "--objective", objective, "-o", folder / "toy",
        *SMALL,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    model = read_model(folder / "toy")
    assert (model.task.grades, model.task.objective) == (4, objective)
    grader = Grader(
        ChosenModel(
            folder=model, attention="masked", members=model.members, note="", is_demo=False
        ),
        EmbeddingSettings(device="cpu"),
    )
    _, predictions = read_table(folder / "toy/predictions/masked.csv")
    assert len(predictions) == 6
    for row in predictions:
        grading = grader.grade(read_features(folder / f"features/made-up-1/{row['slide_id']}.h5"))
        assert grading.score == pytest.approx(float(row["score"]), abs=1e-5)
        assert 0 <= grading.score <= 3
        assert grading.grade == int(row["grade"])


def everything(folder: Path) -> dict[str, int]:
    return {str(f): f.stat().st_mtime_ns for f in folder.rglob("*") if f.is_file()}


def test_a_dry_run_says_what_would_be_trained_and_writes_nothing(folder: Path) -> None:
    arguments = (folder, folder / "labels.csv", "-o", folder / "toy", *SMALL)
    before = everything(folder)
    told = json.loads(hvit_train(*arguments, "--dry-run", "--json").stdout)
    said = hvit_train(*arguments, "--dry-run")
    assert everything(folder) == before
    assert said.exit_code == 0, said.output
    assert "leaks: none found" in said.stdout
    (member,) = told["members"]
    assert sum(member["train"].values()) == 19
    assert sum(member["tune"].values()) == 5
    assert (told["epochs"], told["steps"]) == (2, 38)
    assert told["seconds"] > 0
    hvit_train(*arguments)
    weights = load_file(folder / "toy/masked.safetensors")
    assert told["parameters"] == sum(array.numel() for array in weights.values())
    again = json.loads(hvit_train(*arguments, "--dry-run", "--json").stdout)
    assert again["members"][0]["is_done"]
    assert (again["steps"], again["seconds"]) == (0, 0)


def test_a_dry_run_of_what_cannot_be_trained_ends_as_the_run_would(folder: Path) -> None:
    (folder / "bad.csv").write_text("slide_id,label\nslide000,9\n")
    arguments = (folder, folder / "bad.csv", "-w", folder, *SMALL)
    told, run = hvit_train(*arguments, "--dry-run"), hvit_train(*arguments)
    assert told.exit_code == run.exit_code == 1
    assert told.stderr == run.stderr
