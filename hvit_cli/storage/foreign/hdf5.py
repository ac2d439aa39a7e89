"""HDF5 files of other programs: datasets and attributes, each fault one clear line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from hvit_cli.errors import StorageError
from hvit_cli.storage.foreign.patches import require_plausible

Attributes = dict[str, Any]


def read_datasets(
    path: Path, wanted: tuple[str, ...]
) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Attributes]]:
    """Reads named datasets and the attributes of each.

    Raises:
        StorageError: The file cannot be read, or a dataset is missing.
    """
    try:
        with h5py.File(path, "r") as file:
            missing = [name for name in wanted if not isinstance(file.get(name), h5py.Dataset)]
            if missing:
                raise StorageError(
                    "the file lacks an array",
                    where=path,
                    found=", ".join(file) or "nothing",
                    wanted=", ".join(missing),
                )
            require_plausible(path, sum(file[name].nbytes for name in wanted))
            arrays = {name: np.asarray(file[name][()]) for name in wanted}
            attributes = {
                name: {key: plain(value) for key, value in file[name].attrs.items()}
                for name in wanted
            }
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        # h5py reports damaged files with any of these.
        raise StorageError(
            "this HDF5 file cannot be read", where=path, found=str(error) or type(error).__name__
        ) from error
    return arrays, attributes


def file_attribute(path: Path, name: str) -> Any:
    """One attribute of a file, or None where the file or the attribute is absent or unreadable."""
    if not path.is_file():
        return None
    try:
        with h5py.File(path, "r") as file:
            return plain(file.attrs.get(name))
    except (OSError, RuntimeError, ValueError, KeyError):
        # Only asked to find out whether a file may be reused; one that cannot be read may not.
        return None


def number(attributes: Attributes, name: str, where: Path) -> float | None:
    """A positive number among attributes; None where it is absent or "None".

    Raises:
        StorageError: It is something else.
    """
    value = attributes.get(name)
    if value is None or value == "None":
        return None
    try:
        found = float(value)
    except (TypeError, ValueError):
        found = float("nan")
    if not found > 0:
        raise StorageError(
            "an attribute is no positive number", where=f"{where}: coords.{name}", found=repr(value)
        )
    return found


def plain(value: Any) -> Any:
    """An attribute as Python's own number or text."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
