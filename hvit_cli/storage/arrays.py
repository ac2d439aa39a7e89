"""Named arrays and attributes in one HDF5 file, each array with a checksum.

Arrays are contiguous and uncompressed: features hardly compress, and gzip was measured a
hundred times slower to read. HDF5's own checksums need chunks, so each dataset carries the
SHA-256 of its bytes as an attribute and reading verifies it. The attribute `checksum` does the
same for all other attributes and for the form of the arrays; files from before it was written
are read without. The attribute `complete` is written last.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from hvit_cli.errors import DamagedFileError, StorageError
from hvit_cli.storage.atomic import whole_file

Arrays = dict[str, npt.NDArray[Any]]

_CHECKSUM = "checksum"


@dataclass(frozen=True)
class Blocks:
    """An array that is written block by block, because it need not fit into memory.

    Attributes:
        shape: Of the whole array.
        dtype: Of its elements.
        blocks: Its consecutive parts along the first axis, yielded while the file is written.
    """

    shape: tuple[int, ...]
    dtype: npt.DTypeLike
    blocks: Iterable[npt.NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class _Contents:
    """What stands in a file, each attribute read once: reading one takes 30 µs.

    Attributes:
        objects: What the file holds, by name; not yet read.
        attributes: Attributes of each object by its name, those of the file under "".
    """

    objects: dict[str, h5py.HLObject]
    attributes: dict[str, dict[str, Any]]


def write_arrays(
    path: Path,
    arrays: Mapping[str, npt.NDArray[Any] | Blocks],
    attributes: Mapping[str, Any],
    array_attributes: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Writes arrays and attributes to one HDF5 file, whole or not at all.

    Args:
        path: The file to write.
        arrays: Dataset name to array.
        attributes: Attributes of the file; text, numbers and booleans.
        array_attributes: Further attributes of single datasets.
    """
    with whole_file(path) as temporary, h5py.File(temporary, "w") as file:
        for name, array in arrays.items():
            if isinstance(array, Blocks):
                dataset = _write_blocks(file, name, array)
            else:
                contiguous = np.ascontiguousarray(array)
                dataset = file.create_dataset(name, data=contiguous, track_times=False)
                dataset.attrs["sha256"] = _checksum(contiguous)
            for key, value in (array_attributes or {}).get(name, {}).items():
                dataset.attrs[key] = value
        for key, value in attributes.items():
            file.attrs[key] = value
        file.attrs[_CHECKSUM] = _attributes_checksum(_contents_of(file))
        file.attrs["complete"] = True


def _write_blocks(file: h5py.File, name: str, array: Blocks) -> h5py.Dataset:
    dataset = file.create_dataset(name, array.shape, array.dtype, track_times=False)
    digest, row = hashlib.sha256(), 0
    for block in array.blocks:
        contiguous = np.ascontiguousarray(block, array.dtype)
        dataset[row : row + len(contiguous)] = contiguous
        digest.update(contiguous.data)
        row += len(contiguous)
    if row != array.shape[0]:
        raise ValueError(f"{row} rows were given of {array.shape[0]}")
    dataset.attrs["sha256"] = digest.hexdigest()
    return dataset


def map_arrays(
    path: Path, kind: str, schema: int, *, unread: Collection[str]
) -> tuple[Arrays, dict[str, Any]]:
    """Opens a file that `write_arrays` wrote; arrays too large to read are memory maps.

    The header and the file's length are checked, and the checksums of what is read.

    Args:
        path: The file.
        kind: The value its attribute `kind` must have.
        schema: The value its attribute `schema` must have.
        unread: Names of arrays that are mapped, read-only, their checksums not checked.

    Returns:
        The arrays by name, and the file's attributes as Python values.

    Raises:
        StorageError: There is no such file.
        DamagedFileError: The file is truncated, altered, of another kind or schema.
    """
    if not path.is_file():
        raise StorageError("no such file", where=path)
    arrays: Arrays = {}
    try:
        with h5py.File(path, "r") as file:
            contents = _contents_of(file)
            attributes = _checked_attributes(path, contents, kind, schema)
            for name, dataset in contents.objects.items():
                if name not in unread:
                    arrays[name] = _verified(path, name, dataset, contents.attributes[name])
                    continue
                offset = dataset.id.get_offset()
                if not dataset.size:
                    arrays[name] = dataset[()]
                elif offset is None:
                    raise DamagedFileError("an array is not stored in one piece", where=path)
                else:
                    arrays[name] = np.memmap(path, dataset.dtype, "r", offset, dataset.shape)
    except (OSError, KeyError, ValueError, RuntimeError, TypeError, AttributeError) as error:
        raise DamagedFileError(
            "this HDF5 file cannot be read", where=path, found=str(error) or type(error).__name__
        ) from error
    return arrays, attributes


def read_arrays(path: Path, kind: str, schema: int) -> tuple[Arrays, dict[str, Any]]:
    """Reads a file that `write_arrays` wrote, and checks that it is what was written.

    Args:
        path: The file to read.
        kind: The value its attribute `kind` must have.
        schema: The value its attribute `schema` must have.

    Returns:
        The arrays by name, and the file's attributes as Python values.

    Raises:
        StorageError: There is no such file.
        DamagedFileError: The file is truncated, altered, of another kind or schema.
    """
    if not path.is_file():
        raise StorageError("no such file", where=path)
    arrays: Arrays = {}
    try:
        with h5py.File(path, "r") as file:
            contents = _contents_of(file)
            attributes = _checked_attributes(path, contents, kind, schema)
            for name, dataset in contents.objects.items():
                arrays[name] = _verified(path, name, dataset, contents.attributes[name])
    except (OSError, KeyError, ValueError, RuntimeError, TypeError) as error:
        # h5py reports damaged files with any of these.
        raise DamagedFileError(
            "this HDF5 file cannot be read", where=path, found=str(error) or type(error).__name__
        ) from error
    return arrays, attributes


def require_arrays(
    path: Path, arrays: Arrays, wanted: Mapping[str, tuple[type[np.generic], int]]
) -> None:
    """Checks that every named array is present with its type and number of dimensions.

    Raises:
        DamagedFileError: An array is absent or of another type or rank.
    """
    for name, (dtype, rank) in wanted.items():
        if name not in arrays:
            raise DamagedFileError("an array is missing", where=path, wanted=name)
        array = arrays[name]
        if array.dtype != dtype or array.ndim != rank:
            raise DamagedFileError(
                f"the array {name} has another form",
                where=path,
                found=f"{array.dtype} of {array.ndim} dimensions",
                wanted=f"{np.dtype(dtype)} of {rank}",
            )


def _verified(
    path: Path, name: str, dataset: object, attributes: Mapping[str, Any]
) -> npt.NDArray[Any]:
    """An array that is what was written, by the checksum among its attributes."""
    if not isinstance(dataset, h5py.Dataset):
        raise DamagedFileError("unexpected group", where=path, found=name)
    # Its form stands in the file, and may be anything: no memory is asked for that the file
    # could not fill. What hvit writes is not compressed.
    size = path.stat().st_size
    if dataset.nbytes > size:
        raise DamagedFileError(
            "an array would be larger than its file",
            where=path,
            found=f"{name} of {dataset.nbytes} bytes",
            wanted=f"at most {size}",
        )
    array: npt.NDArray[Any] = dataset[()]
    if _checksum(array) != attributes.get("sha256"):
        raise DamagedFileError(
            "an array is not what was written (checksum)", where=path, found=name
        )
    return array


def _require_header(path: Path, attributes: dict[str, Any], kind: str, schema: int) -> None:
    found = (attributes.get("kind"), attributes.get("schema"))
    if found != (kind, schema):
        raise DamagedFileError(
            "not a file of the expected kind",
            where=path,
            found=f"{found[0]} version {found[1]}",
            wanted=f"{kind} version {schema}",
            hint="--overwrite to make it again",
        )
    if attributes.get("complete") is not True:
        raise DamagedFileError("the file was never finished", where=path)


def _checked_attributes(path: Path, contents: _Contents, kind: str, schema: int) -> dict[str, Any]:
    """The file's attributes as Python values, of a file that is whole and unaltered."""
    attributes = {key: _plain(value) for key, value in contents.attributes[""].items()}
    _require_header(path, attributes, kind, schema)
    written = attributes.pop(_CHECKSUM, None)
    if written is not None and _attributes_checksum(contents) != written:
        raise DamagedFileError("an attribute is not what was written (checksum)", where=path)
    return attributes


def _contents_of(file: h5py.File) -> _Contents:
    objects = {name: file[name] for name in file}
    attributes = {"": _attributes_of(file)}
    attributes |= {name: _attributes_of(item) for name, item in objects.items()}
    return _Contents(objects=objects, attributes=attributes)


def _attributes_of(item: h5py.HLObject) -> dict[str, Any]:
    attributes = item.attrs
    return {key: attributes[key] for key in attributes}


def _attributes_checksum(contents: _Contents) -> str:
    """SHA-256 over the attributes of a file and of its datasets, and the datasets' forms."""
    digest = hashlib.sha256()

    def add(place: str) -> None:
        attributes = contents.attributes[place]
        for key in sorted(attributes):
            if place or key not in (_CHECKSUM, "complete"):
                value = np.asarray(attributes[key])
                digest.update(f"{place} {key} {value.dtype.kind} {value.tolist()!r}\n".encode())

    add("")
    for name, dataset in sorted(contents.objects.items()):
        if isinstance(dataset, h5py.Dataset):
            digest.update(f"{name} {dataset.dtype.str} {dataset.shape}\n".encode())
            add(name)
    return digest.hexdigest()


def _checksum(array: npt.NDArray[Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
