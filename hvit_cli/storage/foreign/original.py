"""The original implementation's features: `<slide>.pt` (M, K, D), regions in the order of text.

The original cuts regions into pictures `<regions>/<slide>/imgs/<x>_<y>.jpg`, x and y in level-0
pixels, and stacks their features in the order of the sorted file names. Sorted as text,
`10240_0` comes before `1024_0` (a digit sorts before the underscore) and `0_10240` before
`0_2048`. The file itself does not hold the coordinates; they come from one of

    a folder of regions   <slide>/imgs/<x>_<y>.*  or  <slide>/<x>_<y>.*     sorted as text
    a table               slide_id, x, y (its `region_features.csv`)         sorted as text
    a folder of arrays    <slide>.npy, its first two columns x, y            in their own order

(the last is what its extraction without pictures reads). Tissue fractions lie in `<slide>.npy`,
(M, K, T) for the T tokens of each patch or (M, K), in the order of the features.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hvit_cli.errors import StorageError, UsageError
from hvit_cli.storage.foreign.patches import (
    ForeignRegions,
    checked_coordinates,
    checked_fractions,
    file_fingerprint,
    files_by_slide,
    require_slides,
)
from hvit_cli.storage.foreign.tensors import read_npy, read_tensor
from hvit_cli.storage.tables import read_table

Coordinates = npt.NDArray[np.int64]


def find_original(source: Path) -> dict[str, Path]:
    """Feature files by slide id, in a folder or in `slide_features` or `features` below it.

    Raises:
        UsageError: There are none.
    """
    folders = [source, source / "slide_features", source / "features"]
    found = next((f for f in folders if any(f.glob("*.pt"))), source)
    return require_slides(files_by_slide(found.glob("*.pt"), ".pt"), source, "<slide>.pt")


class RegionCoordinates:
    """Where the regions of each slide lie, in the order in which the original stacked them.

    Args:
        source: A folder of regions, a table, or a folder of arrays; see the module.

    Raises:
        UsageError: It is none of the three.
        StorageError: The table cannot be read.
    """

    def __init__(self, source: Path) -> None:
        self.source = source
        self._table: dict[str, Coordinates] | None = None
        if source.is_file():
            self._table = _table_of(source)
        elif not source.is_dir():
            raise UsageError("no such folder or table of regions", where=source)

    def of(self, slide_id: str) -> Coordinates:
        """(M, 2) top-left corners (x, y) of a slide's regions in level-0 pixels.

        Raises:
            StorageError: The slide has none, or a name is not `x_y`.
        """
        if self._table is not None:
            found = self._table.get(slide_id)
        elif (self.source / f"{slide_id}.npy").is_file():
            found = _array_of(self.source / f"{slide_id}.npy")
        else:
            found = _folder_of(self.source / slide_id)
        if found is None or not len(found):
            raise StorageError(
                "the coordinates of this slide's regions are not there",
                where=f"{slide_id} in {self.source}",
                wanted="<slide>/imgs/<x>_<y>.jpg, rows of a table, or <slide>.npy",
            )
        return found


def in_text_order(names: Iterable[str]) -> list[str]:
    """Region names `x_y` in the order in which the original stacks their features."""
    return sorted(names)


def read_original(
    slide_id: str, path: Path, coordinates: RegionCoordinates, tissue: Path | None
) -> ForeignRegions:
    """Reads one slide.

    Args:
        slide_id: The slide.
        path: Its feature file.
        coordinates: Where the regions lie.
        tissue: Folder of `<slide>.npy` with tissue fractions; None where they are not known.

    Raises:
        StorageError: A file is missing or cannot be read, or numbers of regions differ.
    """
    features = read_tensor(path)
    if features.ndim != 3 or not np.issubdtype(features.dtype, np.floating):
        raise StorageError(
            "these are no features of the patches of regions",
            where=f"{path}: tensor",
            found=f"{features.dtype} of shape {features.shape}",
            wanted="floats of shape (regions, patches, width), as its local features are",
        )
    xy = coordinates.of(slide_id)
    if len(xy) != len(features):
        raise StorageError(
            "features and coordinates have different numbers of regions",
            where=f"{path} and {coordinates.source}",
            found=f"{len(features)} and {len(xy)}",
        )
    inputs = {"features": file_fingerprint(path), "regions": [list(map(int, p)) for p in xy]}
    fraction = None
    if tissue is not None:
        file = tissue / f"{slide_id}.npy"
        fraction = _fractions(file, (features.shape[0], features.shape[1]))
        inputs["tissue"] = file_fingerprint(file)
    return ForeignRegions(
        slide_id=slide_id, features=features, xy_level0=xy, tissue_fraction=fraction, inputs=inputs
    )


def _fractions(file: Path, shape: tuple[int, int]) -> npt.NDArray[np.float32]:
    if not file.is_file():
        raise StorageError("the tissue fractions of this slide are missing", where=file)
    array = read_npy(file)
    if array.ndim == 3:
        # Tokens are of one size, so that the mean of their fractions is the patch's.
        checked_fractions(array, (*shape, array.shape[2]), file, "tissue fractions")
        array = array.mean(axis=2, dtype=np.float64)
    return checked_fractions(array, shape, file, "tissue fractions")


def _table_of(path: Path) -> dict[str, Coordinates]:
    columns, rows = read_table(path)
    missing = [name for name in ("slide_id", "x", "y") if name not in columns]
    if missing:
        raise StorageError(
            "the table of regions lacks a column",
            where=path,
            found=", ".join(columns),
            wanted=", ".join(missing),
        )
    names: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        names[row["slide_id"]].add(f"{row['x']}_{row['y']}")
    return {slide_id: _parsed(of_slide, path) for slide_id, of_slide in names.items()}


def _folder_of(folder: Path) -> Coordinates | None:
    pictures = folder / "imgs" if (folder / "imgs").is_dir() else folder
    if not pictures.is_dir():
        return None
    names = {f.stem for f in pictures.iterdir() if f.is_file() and not f.name.startswith(".")}
    return _parsed(names, pictures)


def _parsed(names: Iterable[str], where: Path) -> Coordinates:
    positions = []
    for name in in_text_order(names):
        try:
            x, y = map(int, name.split("_"))
        except ValueError as error:
            raise StorageError(
                "the name of a region is not x_y in level-0 pixels", where=where, found=repr(name)
            ) from error
        positions.append((x, y))
    return np.asarray(positions, np.int64).reshape(-1, 2)


def _array_of(path: Path) -> Coordinates:
    array = read_npy(path)
    if array.dtype.names is not None and {"x", "y"} <= set(array.dtype.names):
        array = np.stack([array["x"], array["y"]], axis=1)
    if array.ndim != 2 or array.shape[1] < 2:
        raise StorageError(
            "these are no coordinates of regions",
            where=path,
            found=f"{array.dtype} of shape {array.shape}",
            wanted="columns x, y",
        )
    return checked_coordinates(array[:, :2], len(array), path, "x, y")
