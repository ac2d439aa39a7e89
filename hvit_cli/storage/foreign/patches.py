"""What files of other programs hold: patches with coordinates, or whole regions of patches."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hvit_cli.errors import StorageError, UsageError

_END_BYTES = 1 << 20
_ALWAYS_FINE_BYTES = 64 << 20
_MOST_COMPRESSED = 100


@dataclass(frozen=True, kw_only=True)
class ForeignPatches:
    """Patches of one slide as another program stored them.

    Attributes:
        slide_id: The slide's name without suffix.
        features: (N, D) floats.
        xy_level0: (N, 2) int64, top-left corners (x, y) in level-0 pixels.
        tissue_fraction: (N,) float32, or None where the file does not say.
        patch_level0: Side of a patch in level-0 pixels, or None where the file does not say.
        patch_px: Side of a patch in output pixels, where the file says.
        spacing_um: The spacing asked for when the patches were cut, where the file says.
        spacing_um_level0: Micrometres per level-0 pixel, where the file says.
        size_level0: (width, height) of the slide, where the file says.
        encoder: Name of the patch encoder, where the file says.
        inputs: Fingerprint of every file that was read, by its role.
    """

    slide_id: str
    features: npt.NDArray[Any]
    xy_level0: npt.NDArray[np.int64]
    tissue_fraction: npt.NDArray[np.float32] | None = None
    patch_level0: int | None = None
    patch_px: int | None = None
    spacing_um: float | None = None
    spacing_um_level0: float | None = None
    size_level0: tuple[int, int] | None = None
    encoder: str | None = None
    inputs: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ForeignRegions:
    """Regions of one slide with every patch, as the original implementation stored them.

    Attributes:
        slide_id: The slide's name without suffix.
        features: (M, K, D) floats; patch k lies at row k // side, column k % side.
        xy_level0: (M, 2) int64, top-left corners (x, y) of the regions in level-0 pixels.
        tissue_fraction: (M, K) float32, or None where no file says.
        inputs: Fingerprint of every file that was read, by its role.
    """

    slide_id: str
    features: npt.NDArray[Any]
    xy_level0: npt.NDArray[np.int64]
    tissue_fraction: npt.NDArray[np.float32] | None = None
    inputs: dict[str, Any] = field(default_factory=dict)


def files_by_slide(files: Iterable[Path], ending: str) -> dict[str, Path]:
    """Files by slide id, the name without `ending`, in the order of the ids; hidden ones left out.

    Only the ending is removed: a slide may be called `TCGA-01.8f2c`.
    """
    named = {f.name.removesuffix(ending): f for f in files if not f.name.startswith(".")}
    return dict(sorted(named.items()))


def require_slides(found: Mapping[str, Path], source: Path, wanted: str) -> dict[str, Path]:
    """The slides that were found.

    Raises:
        UsageError: There are none.
    """
    if not found:
        raise UsageError("no features of this layout here", where=source, wanted=wanted)
    return dict(found)


def file_fingerprint(path: Path) -> dict[str, Any]:
    """Size and SHA-256 of the first and last MiB of a file, as plain JSON values."""
    digest = hashlib.sha256()
    size = path.stat().st_size
    with path.open("rb") as file:
        digest.update(file.read(_END_BYTES))
        file.seek(max(0, size - _END_BYTES))
        digest.update(file.read(_END_BYTES))
    return {"bytes": size, "sha256_of_ends": digest.hexdigest()}


def require_plausible(path: Path, unpacked_bytes: int) -> None:
    """Refuses a small file that would fill the memory when it is unpacked.

    Features hardly compress, coordinates a few dozen times.

    Raises:
        StorageError: The arrays are large, and a hundred times larger than their file.
    """
    most = max(_ALWAYS_FINE_BYTES, _MOST_COMPRESSED * path.stat().st_size)
    if unpacked_bytes > most:
        raise StorageError(
            "the arrays are too large for their file",
            where=path,
            found=f"{unpacked_bytes} bytes unpacked",
            wanted=f"at most {most}",
        )


def checked_features(array: npt.NDArray[Any], where: Path, name: str) -> npt.NDArray[Any]:
    """Features as (N, D) floats; one leading axis of length 1 is taken off.

    Raises:
        StorageError: They have another shape, or are no numbers.
    """
    if array.ndim == 3 and array.shape[0] == 1:
        array = array[0]
    if array.ndim != 2 or not np.issubdtype(array.dtype, np.floating):
        raise StorageError(
            "these are no features of patches",
            where=f"{where}: {name}",
            found=f"{array.dtype} of shape {array.shape}",
            wanted="floats of shape (patches, width)",
        )
    return array


def checked_coordinates(
    array: npt.NDArray[Any], patches: int, where: Path, name: str
) -> npt.NDArray[np.int64]:
    """Coordinates as (N, 2) int64; one leading axis of length 1 is taken off.

    Raises:
        StorageError: They have another shape or number, or are not whole and 0 or more.
    """
    if array.ndim == 3 and array.shape[0] == 1:
        array = array[0]
    place = f"{where}: {name}"
    if array.shape != (patches, 2):
        raise StorageError(
            "features and coordinates do not belong together",
            where=place,
            found=f"shape {array.shape}",
            wanted=f"({patches}, 2)",
        )
    if not np.issubdtype(array.dtype, np.number):
        raise StorageError("these are no coordinates", where=place, found=array.dtype)
    whole = np.asarray(np.rint(array), np.int64)
    bad = np.flatnonzero(((whole != array) | (whole < 0)).any(axis=1))
    if len(bad):
        raise StorageError(
            "coordinates must be whole level-0 pixels, 0 or more",
            where=place,
            found=f"{tuple(array[bad[0]].tolist())} in row {bad[0]}, {len(bad)} such rows",
        )
    return whole


def checked_fractions(
    array: npt.NDArray[Any], shape: tuple[int, ...], where: Path, name: str
) -> npt.NDArray[np.float32]:
    """Tissue fractions as float32 of the wanted shape.

    Raises:
        StorageError: They have another shape, or lie outside 0 to 1.
    """
    place = f"{where}: {name}"
    if array.shape != shape or not np.issubdtype(array.dtype, np.number):
        raise StorageError(
            "these are not the tissue fractions of the features",
            where=place,
            found=f"{array.dtype} of shape {array.shape}",
            wanted=f"shape {shape}",
        )
    fractions = np.asarray(array, np.float32)
    if fractions.size and not (fractions.min() >= 0 and fractions.max() <= 1 + 1e-6):
        raise StorageError(
            "tissue fractions must lie between 0 and 1",
            where=place,
            found=f"{fractions.min():.4g} to {fractions.max():.4g}",
        )
    return np.minimum(fractions, np.float32(1))
