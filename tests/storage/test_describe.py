from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from hvit_cli.errors import DamagedFileError
from hvit_cli.storage.arrays import write_arrays
from hvit_cli.storage.describe import describe_product, is_product


def test_an_altered_array_is_found_by_its_checksum(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    write_arrays(path, {"coords": np.arange(4)}, {"kind": "hvit-features", "schema": 1})
    assert describe_product(path)["coords"] == "int64 4"
    with h5py.File(path, "r+") as file:
        file["coords"][2] = 7
    with pytest.raises(DamagedFileError, match="checksum"):
        describe_product(path)


def test_files_of_others_are_not_described_as_ours(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["features"] = np.zeros(3)
    with pytest.raises(DamagedFileError, match="not hvit's"):
        describe_product(tmp_path / "a.h5")
    (tmp_path / "model.json").write_text("[1]")
    assert is_product(tmp_path)
    with pytest.raises(DamagedFileError, match="not hvit's"):
        describe_product(tmp_path)
    (tmp_path / "model.json").write_text("{")
    with pytest.raises(DamagedFileError, match="cannot be read"):
        describe_product(tmp_path)
