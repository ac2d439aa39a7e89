from __future__ import annotations

import dataclasses
from pathlib import Path

import h5py
import numpy as np
import pytest

from hvit_cli.errors import DamagedFileError, StorageError
from hvit_cli.storage.tiles import TileFile, read_tiles, write_tiles


def test_what_was_written_is_read(tmp_path: Path, tiles: TileFile) -> None:
    write_tiles(tmp_path / "s.h5", tiles)
    found = read_tiles(tmp_path / "s.h5")
    for field in dataclasses.fields(TileFile):
        if field.name != "regions":
            assert getattr(found, field.name) == getattr(tiles, field.name), field.name
    for field in dataclasses.fields(type(tiles.regions)):
        np.testing.assert_array_equal(
            getattr(found.regions, field.name), getattr(tiles.regions, field.name)
        )


def test_the_file_holds_the_documented_arrays(tmp_path: Path, tiles: TileFile) -> None:
    write_tiles(tmp_path / "s.h5", tiles)
    with h5py.File(tmp_path / "s.h5") as file:
        assert file["region_xy_level0"][()].tolist() == [[0, 0], [1025, 0]]
        assert file["region_xy_level0"].dtype == np.int64
        assert file["tissue_fraction"].dtype == np.float32
        assert file["tissue_fraction"][()].tolist() == [
            [0, 1 / 16, 2 / 16, 3 / 16],
            [4 / 16, 5 / 16, 6 / 16, 7 / 16],
        ]
        assert file["region_tissue_fraction"][()].tolist() == [6 / 64, 22 / 64]
        assert file["tissue_fraction"].chunks is None
        assert file.attrs["complete"]


def test_the_same_tiles_give_the_same_bytes(tmp_path: Path, tiles: TileFile) -> None:
    write_tiles(tmp_path / "a.h5", tiles)
    write_tiles(tmp_path / "b.h5", tiles)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no such file"):
        read_tiles(tmp_path / "none.h5")


def test_truncation_is_found(tmp_path: Path, tiles: TileFile) -> None:
    path = tmp_path / "s.h5"
    write_tiles(path, tiles)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DamagedFileError, match=r"s\.h5"):
        read_tiles(path)


def test_arrays_that_contradict_each_other_are_found(tmp_path: Path, tiles: TileFile) -> None:
    wrong = dataclasses.replace(
        tiles, regions=dataclasses.replace(tiles.regions, pixel_count=np.ones((2, 9), np.int64))
    )
    with pytest.raises(ValueError, match="broadcast"):
        write_tiles(tmp_path / "s.h5", wrong)
    assert not (tmp_path / "s.h5").exists()
