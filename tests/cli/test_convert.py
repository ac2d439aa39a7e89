from __future__ import annotations

import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from typer.testing import CliRunner

from hvit_cli.cli.app import app
from hvit_cli.models.aggregator import Aggregator
from hvit_cli.models.loading import to_original_names
from hvit_cli.settings import AggregatorSettings

RUNNER = CliRunner()


@pytest.fixture(scope="session")
def foreign() -> SimpleNamespace:
    """Folders of other programs, and their readers."""
    path = Path(__file__).parents[1] / "storage" / "foreign" / "folders_on_disk.py"
    return SimpleNamespace(**runpy.run_path(str(path)))


def test_features_come_and_go_again(foreign: SimpleNamespace, tmp_path: Path) -> None:
    foreign.write_trident(tmp_path / "job", "a[1]", foreign.cells(9, 9, 0.5, seed=1))
    came = RUNNER.invoke(
        app, ["convert", str(tmp_path / "job"), "--from", "trident", "-o", str(tmp_path / "work")]
    )
    assert came.exit_code == 0, came.output
    assert "a[1]" in came.stdout
    went = RUNNER.invoke(
        app,
        ["convert", str(tmp_path / "work"), "--to", "clam", "-o", str(tmp_path / "c"), "--json"],
    )
    assert went.exit_code == 0, went.output
    (row,) = json.loads(went.stdout)
    assert (row["slide_id"], row["stage"], row["status"]) == ("a[1]", "convert", "done")
    assert (tmp_path / "c" / "pt_files" / "a[1].pt").is_file()


def test_five_folds_of_the_original_become_one_model(tmp_path: Path) -> None:
    sizes = AggregatorSettings(region_depth=1, slide_depth=1)
    files = []
    for fold in range(5):
        torch.manual_seed(fold)
        files.append(tmp_path / f"fold{fold}.pt")
        torch.save(to_original_names(Aggregator(sizes).state_dict()), files[-1])
    out = tmp_path / "models" / "paper"
    known = ["--encoder-name", "vit_small", "-o", str(out)]
    ended = RUNNER.invoke(
        app, ["convert", "--from", "original", "--model", *map(str, files), *known]
    )
    assert ended.exit_code == 0, ended.output
    assert "normalisation none" in " ".join(ended.stderr.split())
    model = json.loads((out / "model.json").read_text())
    assert [member["fold"] for member in model["members"]] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["convert", "src", "-o", "out"], 2, "say either --from or --to"),
        (["convert", "src", "-o", "out", "--from", "clam", "--to", "clam"], 2, "either --from"),
        (["convert", "src", "src", "-o", "out", "--to", "clam"], 2, "one folder at a time"),
        (["convert", "src", "-o", "out", "--to", "clam", "--model"], 2, "--from original"),
        (["convert", "f.pt", "-o", "out", "--from", "clam", "--model"], 2, "found clam"),
        (["convert", "src", "-o", "out", "--from", "clam", "--plain"], 2, "--model and --to"),
        (["convert", "nowhere", "-o", "out", "--from", "clam"], 2, "nowhere: no such folder"),
        (["convert", "src", "-o", "out", "--from", "clam"], 2, "h5_files/<slide>.h5"),
        (["convert", "src", "-o", "out", "--to", "stamp"], 2, "no feature files here"),
        (["convert", "src", "--from", "clam"], 2, "--out"),
    ],
)
def test_mistakes_end_with_one_line_and_their_code(
    arguments: list[str], code: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "src").mkdir()
    ended = RUNNER.invoke(app, arguments)
    assert ended.exit_code == code, ended.output
    assert said in " ".join(ended.stderr.replace("│", " ").split())
    assert not (tmp_path / "out").exists()
