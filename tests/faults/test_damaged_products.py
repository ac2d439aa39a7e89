"""Damaged products are found, told of by name and made again, byte for byte what they were."""

from __future__ import annotations

import os
import runpy
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import openslide  # noqa: F401 - before torch
import pytest
from typer.testing import CliRunner

from hvit_cli.cli.app import app
from hvit_cli.storage.status import read_status

_INPUTS = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("small_inputs.py"))))
COMMANDS = ("segment", "tile", "embed", "predict")
# Of the slide, by the first command that makes it.
PRODUCTS = {
    "masks/drawn0.tiff": "segment",
    "contours/drawn0.geojson": "segment",
    "qc/drawn0.jpg": "segment",
    "tiles/drawn0.h5": "tile",
    "features/*/drawn0.h5": "embed",
}
DAMAGES = ("flipped", "truncated", "zeroed")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return _INPUTS.draw_inputs(tmp_path_factory.mktemp("drawn") / "inputs", slides=1)


@pytest.fixture(scope="module")
def works(inputs: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An undamaged work folder of each command."""
    folder = tmp_path_factory.mktemp("whole")
    for command in COMMANDS:
        hvit(inputs, command, folder / command)
    return {command: folder / command for command in COMMANDS}


def hvit(inputs: Any, command: str, work: Path, *options: str) -> str:
    ended = CliRunner().invoke(app, [*inputs.command(command, work), *options])
    assert ended.exit_code == 0, ended.output
    return str(ended.output)


def damaged(path: Path, damage: str) -> bytes:
    """The content of a file with one bit, or its second half, altered or cut off."""
    content = path.read_bytes()
    half = len(content) // 2
    if damage != "flipped":
        return content[:half] + (bytes(len(content) - half) if damage == "zeroed" else b"")
    place = half
    if path.suffix == ".h5":
        # HDF5 leaves room that nobody reads.
        with h5py.File(path) as file:
            place = file["features" if "features" in file else "pixel_count"].id.get_offset()
    return content[:place] + bytes([content[place] ^ 16]) + content[place + 1 :]


def contents(work: Path) -> dict[str, bytes]:
    """Every file but the logs and tables of what happened when."""
    return {
        str(path.relative_to(work)): path.read_bytes()
        for path in work.rglob("*")
        if path.is_file()
        and path.suffix not in (".jsonl", ".html")
        and path.name not in ("status.csv", "predictions.csv")
    }


def reason(work: Path, stage: str) -> str:
    (row,) = [row for row in read_status(work) if row.stage == stage]
    return row.reason


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("command", ["segment", "tile", "embed"])
def test_a_command_mends_what_it_makes(
    command: str, damage: str, inputs: Any, works: dict[str, Path], tmp_path: Path
) -> None:
    work = tmp_path / command
    # With the times of the files, by which a run knows what was done.
    shutil.copytree(works[command], work)
    made = [p for p in PRODUCTS if COMMANDS.index(PRODUCTS[p]) <= COMMANDS.index(command)]
    # One that is made from a damaged one is made again with it, and need not be named.
    for product in ("masks/drawn0.tiff", made[-1]):
        (path,) = work.glob(product)
        path.write_bytes(damaged(path, damage))
    hvit(inputs, command, work)
    assert contents(work) == contents(works[command])
    assert "masks/drawn0.tiff made again, because" in reason(work, command)


@pytest.mark.parametrize("product", PRODUCTS)
def test_every_product_is_named(
    product: str, inputs: Any, works: dict[str, Path], tmp_path: Path
) -> None:
    work = tmp_path / "embed"
    shutil.copytree(works["embed"], work)
    (path,) = work.glob(product)
    kept = path.stat()
    path.write_bytes(damaged(path, "flipped"))
    os.utime(path, ns=(kept.st_atime_ns, kept.st_mtime_ns))
    # A disk that decays leaves size and time, which only --verify does not believe.
    hvit(inputs, "embed", work, "--verify")
    assert f"{path.relative_to(work)} made again, because " in reason(work, "embed")
    assert contents(work) == contents(works["embed"])


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_table_of_predictions_is_mended(
    damage: str, inputs: Any, works: dict[str, Path], tmp_path: Path
) -> None:
    work = tmp_path / "predict"
    shutil.copytree(works["predict"], work)
    table = work / "predictions.csv"
    whole = table.read_bytes()
    table.write_bytes(damaged(table, damage))
    hvit(inputs, "predict", work)
    assert table.read_bytes() == whole


def test_altered_rows_of_other_slides_are_told_of_until_they_are_made_again(
    inputs: Any, works: dict[str, Path], tmp_path: Path
) -> None:
    work = tmp_path / "predict"
    shutil.copytree(works["predict"], work)
    shutil.copytree(inputs.slides, tmp_path / "more")
    shutil.copy(inputs.slides / "drawn0.tiff", tmp_path / "more" / "other.tiff")
    others = [inputs.command("predict", work)[0], str(tmp_path / "more" / "other.tiff")]
    again = [*others, *inputs.command("predict", work)[2:]]
    assert CliRunner().invoke(app, again).exit_code == 0
    table = work / "predictions.csv"
    whole = table.read_text()
    assert [line.split(",")[0] for line in whole.splitlines()] == ["slide_id", "drawn0", "other"]
    grade = whole.splitlines()[1].split(",")[1]
    table.write_text(whole.replace(f"drawn0,{grade},", f"drawn0,{(int(grade) + 1) % 6},"))
    for _ in range(2):
        said = CliRunner().invoke(app, again).output
        assert f"{table}: rows of 1 slides are not what was written (checksum)" in said
        assert "makes them again: drawn0" in said
    assert "checksum" not in hvit(inputs, "predict", work)
    assert table.read_text() == whole


@pytest.mark.slow
@pytest.mark.parametrize("product", PRODUCTS)
def test_flipped_bits_anywhere_are_mended_or_harmless(
    product: str, inputs: Any, works: dict[str, Path], tmp_path: Path
) -> None:
    """20 places in each product; what is not mended is not read either."""
    work = tmp_path / "embed"
    shutil.copytree(works["embed"], work)
    (path,) = work.glob(product)
    whole, before = path.read_bytes(), contents(works["embed"])
    rng, harmless = np.random.default_rng(0), 0
    for place in rng.integers(0, len(whole), 20):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 2]) + whole[place + 1 :])
        hvit(inputs, "embed", work, "--verify")
        if path.read_bytes() != whole:
            assert reason(work, "embed") == "reused"
            harmless += 1
            path.write_bytes(whole)
        assert contents(work) == before
    print(f"{product}: 20 flips, {20 - harmless} mended, {harmless} not read")  # noqa: T201
    assert harmless < 20
