"""What a file that hvit wrote is, in words: for people who meet one."""

from __future__ import annotations

import json
from pathlib import Path

import h5py

from hvit_cli.errors import DamagedFileError
from hvit_cli.storage.arrays import read_arrays

_OURS = "hvit-"


def is_product(path: Path) -> bool:
    """Whether a path looks like something hvit wrote: an HDF5 file or a model folder."""
    return path.suffix.lower() == ".h5" or (path / "model.json").is_file()


def describe_product(path: Path) -> dict[str, str]:
    """The facts in an HDF5 file or model folder of hvit, as text by name.

    Every array of an HDF5 file is read and compared with its checksum.

    Raises:
        DamagedFileError: It cannot be read, or hvit did not write it.
    """
    return _model(path) if path.is_dir() else _arrays(path)


def _arrays(path: Path) -> dict[str, str]:
    try:
        with h5py.File(path, "r") as file:
            kind, schema = str(file.attrs.get("kind", "")), int(file.attrs.get("schema", 0))
    except OSError as error:
        raise DamagedFileError("this HDF5 file cannot be read", where=path, found=error) from error
    if not kind.startswith(_OURS):
        raise DamagedFileError("this HDF5 file is not hvit's", where=path)
    arrays, attributes = read_arrays(path, kind, schema)
    facts = {name: str(value) for name, value in attributes.items()}
    for name, array in arrays.items():
        facts[name] = f"{array.dtype} {' × '.join(map(str, array.shape))}"
    return facts


def _model(folder: Path) -> dict[str, str]:
    file = folder / "model.json"
    try:
        facts = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DamagedFileError("the model cannot be read", where=file, found=error) from error
    if not isinstance(facts, dict) or not str(facts.get("kind", "")).startswith(_OURS):
        raise DamagedFileError("this model folder is not hvit's", where=folder)
    return {
        str(name): value if isinstance(value, str) else json.dumps(value)
        for name, value in facts.items()
    }
