"""What trainings leave is damaged: nothing damaged is used, and the same command mends it."""

from __future__ import annotations

import logging
import runpy
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import openslide  # noqa: F401 - before torch
import pytest
from typer.testing import CliRunner

from hvit_cli.cli.app import app
from hvit_cli.pretraining import job as pretraining_job
from hvit_cli.training import run as training_run

_INPUTS = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("small_inputs.py"))))


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return _INPUTS.draw_inputs(tmp_path_factory.mktemp("drawn") / "inputs", slides=2)


@pytest.fixture(scope="module")
def whole(inputs: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What undisturbed runs of train and pretrain leave."""
    folder = tmp_path_factory.mktemp("whole")
    for command in ("train", "pretrain"):
        hvit(inputs.command(command, folder / command))
    return folder


class StoppedError(Exception):
    """Stands for a kill: nothing after it is done."""


def hvit(arguments: Any, exit_code: int = 0) -> str:
    ended = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if isinstance(ended.exception, StoppedError):
        raise ended.exception
    assert ended.exit_code == exit_code, ended.output
    assert "Traceback" not in ended.output
    return str(ended.output)


def flip(path: Path, place: float = 0.5) -> None:
    """Flips one bit of a file."""
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 4
    path.write_bytes(content)


STATES = {
    "train": (training_run, "save_training", "models/toy/training/masked/training_state.pt"),
    "pretrain": (pretraining_job, "save_pretraining", "encoder/training_state.pt"),
}
RESULTS = {
    "train": ("models/toy/masked.safetensors", "models/toy/model.json"),
    "pretrain": ("encoder/encoder.safetensors", "encoder/encoder.json", "encoder/README.md"),
}


@pytest.mark.parametrize("command", STATES)
@pytest.mark.parametrize(
    "damage",
    [
        "flipped",
        pytest.param("truncated", marks=pytest.mark.slow),
        pytest.param("zeroed", marks=pytest.mark.slow),
    ],
)
def test_a_damaged_state_is_named_and_the_run_begins_anew(
    command: str,
    damage: str,
    inputs: Any,
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    module, save, file = STATES[command]
    # The path of the folder stands in no result that is compared.
    out = tmp_path / command
    kept, saved = getattr(module, save), []

    def stop(*arguments: Any) -> None:
        kept(*arguments)
        saved.append(arguments)
        if len(saved) == 2:
            raise StoppedError

    with monkeypatch.context() as patch, pytest.raises(StoppedError):
        patch.setattr(module, save, stop)
        hvit(inputs.command(command, out))
    state = out / file
    content = state.read_bytes()
    if damage == "flipped":
        flip(state)
    else:
        half = content[: len(content) // 2]
        state.write_bytes(half + bytes(len(half)) if damage == "zeroed" else half)
    caplog.set_level(logging.WARNING, "hvit_cli")
    said = hvit(inputs.command(command, out))
    assert f"begins anew, because {state}" in said
    for name in RESULTS[command]:
        assert (out / name).read_bytes() == (whole / command / name).read_bytes()
    assert not state.exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", RESULTS["pretrain"][:2])
def test_an_encoder_that_was_altered_is_pretrained_again(
    name: str, inputs: Any, whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "pretrain"
    shutil.copytree(whole / "pretrain", out)
    flip(out / name)
    said = hvit(inputs.command("pretrain", out))
    assert f"{out / name} is not what was written (checksum)" in said
    for result in RESULTS["pretrain"]:
        assert (out / result).read_bytes() == (whole / "pretrain" / result).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("name", RESULTS["train"])
def test_a_model_that_was_altered_is_refused_by_name_and_made_anew_on_demand(
    name: str, inputs: Any, whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "train"
    shutil.copytree(whole / "train", out)
    flip(out / name)
    said = hvit(inputs.command("train", out), 1)
    assert str(out / name) in said
    assert "--overwrite" in said
    said = hvit([*inputs.command("train", out), "--overwrite"])
    assert f"the model is made anew, because {out / name}" in said
    for result in RESULTS["train"]:
        assert (out / result).read_bytes() == (whole / "train" / result).read_bytes()
