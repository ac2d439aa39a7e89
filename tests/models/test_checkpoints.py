from __future__ import annotations

import argparse
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from hvit_cli.errors import CheckpointError
from hvit_cli.models.checkpoints import read_state_dict

STATE = {"cls_token": torch.ones(1, 1, 4), "norm.weight": torch.arange(4.0)}


class Bomb:
    """Unpickling it would create the file it names."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch '{self.path}'",)


class Unknown:
    pass


def wrapped(prefix: str) -> dict[str, torch.Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in STATE.items()}


def assert_is_state(found: dict[str, torch.Tensor]) -> None:
    assert found.keys() == STATE.keys()
    assert all(torch.equal(found[name], STATE[name]) for name in STATE)


@pytest.mark.parametrize("prefix", ["", "module.", "backbone.", "module.backbone."])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"teacher": state},
        lambda state: {"student": {"x": torch.zeros(1)}, "teacher": state, "epoch": 3},
        lambda state: {"state_dict": state},
        lambda state: {"model": {"state_dict": state}},
    ],
)
def test_wrappers_and_prefixes_are_taken_off(
    tmp_path: Path, wrap: Callable[[Any], Any], prefix: str
) -> None:
    torch.save(wrap(wrapped(prefix)), tmp_path / "weights.pth")
    assert_is_state(read_state_dict(tmp_path / "weights.pth"))


def test_a_real_dino_snapshot_holds_a_namespace_and_numpy_scalars(tmp_path: Path) -> None:
    snapshot = {
        "student": {"module.backbone.cls_token": torch.zeros(1)},
        "teacher": wrapped("backbone."),
        "optimizer": {"state": {0: {"step": 3, "exp_avg": torch.zeros(2)}}, "param_groups": []},
        "args": argparse.Namespace(arch="vit_small", lr=np.float64(5e-4), data_path=None),
        "epoch": np.int64(7),
        "loss": np.float32(9.1),
        "dino_loss": {"center": torch.zeros(1, 8)},
        "fp16_scaler": None,
    }
    for name, zipped in (("new.pth", True), ("old.pth", False)):
        torch.save(snapshot, tmp_path / name, _use_new_zipfile_serialization=zipped)
        assert_is_state(read_state_dict(tmp_path / name))
    student = read_state_dict(tmp_path / "new.pth", network="student")
    assert torch.equal(student["cls_token"], torch.zeros(1))


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.bin"])
def test_safetensors_are_known_by_content(tmp_path: Path, name: str) -> None:
    save_file(wrapped("module."), tmp_path / name)
    assert_is_state(read_state_dict(tmp_path / name))


def test_unpickling_runs_no_code(tmp_path: Path) -> None:
    boom = tmp_path / "boom"
    torch.save({"teacher": STATE, "args": Bomb(boom)}, tmp_path / "bomb.pth")
    for protocol in range(6):
        raw = pickle.dumps(Bomb(boom), protocol=protocol)
        (tmp_path / f"raw{protocol}.pth").write_bytes(raw)
    for file in tmp_path.glob("*.pth"):
        with pytest.raises(CheckpointError):
            read_state_dict(file)
    assert not boom.exists()


@pytest.mark.parametrize(
    ("thing", "name"),
    [
        (Unknown(), "test_checkpoints.Unknown"),
        (Path("a"), "PosixPath"),
        (np.zeros(3), "_reconstruct"),
        (torch.nn.Linear(1, 1), "torch.nn.modules.linear.Linear"),
    ],
)
def test_any_other_class_is_named_in_one_line(tmp_path: Path, thing: object, name: str) -> None:
    torch.save({"teacher": STATE, "args": thing}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError) as caught:
        read_state_dict(tmp_path / "other.pth")
    message = str(caught.value)
    assert name in message and "other.pth" in message and "\n" not in message


def test_the_allow_list_is_closed_again_afterwards(tmp_path: Path) -> None:
    torch.save({"teacher": STATE, "args": argparse.Namespace()}, tmp_path / "dino.pth")
    read_state_dict(tmp_path / "dino.pth")
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "dino.pth", weights_only=True)


def test_files_that_hold_no_weights_are_told_in_one_line(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "whole.pth")
    torch.save(STATE, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    save_file(STATE, tmp_path / "whole.safetensors")
    for name in ("whole.pth", "old.pth", "whole.safetensors"):
        content = (tmp_path / name).read_bytes()
        for share in (0.02, 0.3, 0.9):
            cut = tmp_path / f"cut{share}-{name}"
            cut.write_bytes(content[: int(len(content) * share)])
    for name in ("whole.pth", "old.pth", "whole.safetensors"):
        (tmp_path / name).unlink()
    (tmp_path / "empty.pth").touch()
    (tmp_path / "text.pth").write_text("these are no weights\n")
    (tmp_path / "text.safetensors").write_text("these are no weights\n")
    with h5py.File(tmp_path / "hdf5.pth", "w") as file:
        file["cls_token"] = np.ones(4)
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({}, tmp_path / "nothing.pth")
    torch.save({"epoch": 3}, tmp_path / "number.pth")
    torch.save({"teacher": {"cls_token": 3}}, tmp_path / "no_tensor.pth")
    for file in [*tmp_path.iterdir(), tmp_path / "absent.pth", tmp_path]:
        with pytest.raises(CheckpointError) as caught:
            read_state_dict(file)
        assert file.name in str(caught.value)
        assert "\n" not in str(caught.value)


def test_names_that_collide_without_their_prefix_are_refused(tmp_path: Path) -> None:
    torch.save({"module.a": torch.ones(1), "a": torch.ones(1)}, tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match="same name once prefixes are stripped"):
        read_state_dict(tmp_path / "weights.pth")
