"""The regions of a folder of features, held so that any of them is at hand in microseconds.

Only patches with tissue are held, which is what masked attention sees: a background patch has
no row here, and nothing that is computed can depend on it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hvit_cli.errors import ModelError, StorageError
from hvit_cli.storage.feature_headers import FeatureHeader, read_feature_header
from hvit_cli.storage.features import SlideFeatures, read_features
from hvit_cli.training import cohort
from hvit_cli.training.bags import read_ahead

MEMORY_BYTES = 8 << 30


@dataclass(frozen=True, kw_only=True)
class RegionGrids:
    """R regions with tissue, the rows of their P patches with tissue one after another.

    Attributes:
        features: (P, D) float16.
        patch_index: (P,) int64, row-major position in the region, ascending within one.
        offsets: (R + 1,) int64, first row of each region, then their number.
        slides: Slides that gave at least one region, sorted.
        without_tissue: Regions that were left out because they hold no tissue.
        skipped: Slides that gave none, by id: why.
        header: A header that stands for all files.
    """

    features: npt.NDArray[np.float16]
    patch_index: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]
    slides: tuple[str, ...]
    without_tissue: int
    skipped: Mapping[str, str]
    header: FeatureHeader

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def side(self) -> int:
        """Patches along one side of a region."""
        return self.header.region_px // self.header.patch_px


@dataclass
class _Filling:
    """Rows that are filled slide by slide."""

    features: npt.NDArray[np.float16]
    patch_index: npt.NDArray[np.int64]
    counts: list[npt.NDArray[np.int64]] = field(default_factory=list)
    rows: int = 0
    without_tissue: int = 0

    def add(self, slide: SlideFeatures) -> int:
        """Takes the regions of a slide, and returns how many have tissue."""
        visible = slide.visible("masked")
        counts = np.bincount(slide.region_index[visible], minlength=slide.n_regions)
        rows = slice(self.rows, self.rows + int(visible.sum()))
        self.features[rows] = slide.features[visible]
        self.patch_index[rows] = slide.patch_index[visible]
        self.rows = rows.stop
        self.counts.append(counts[counts > 0])
        self.without_tissue += int((counts == 0).sum())
        return int((counts > 0).sum())


def read_region_grids(
    features: Path,
    slides: Collection[str] | None = None,
    *,
    exclude: Collection[str] = (),
    memory_bytes: int = MEMORY_BYTES,
) -> RegionGrids:
    """Reads the regions of all, or of some, slides of a folder of features.

    A file that cannot be read costs its slide, not the run: it is named in `skipped`.

    Args:
        features: Folder of feature files, or a work folder with one such folder.
        slides: The slides to read; None reads all.
        exclude: Slides to leave out of these.
        memory_bytes: Features beyond this lie in a temporary file that is mapped into memory
            and gone when the process ends.

    Raises:
        UsageError: No, or several, folders of features could be meant.
        RecipeError: Features of different making are mixed.
        ModelError: No region with tissue is left.
    """
    folder = cohort.find_features_folder(features)
    present = cohort.list_features(folder)
    wanted = sorted(set(present if slides is None else slides) - set(exclude))
    skipped = {i: "no features" for i in wanted if i not in present}
    headers = dict(_headers({i: present[i] for i in wanted if i in present}, skipped))
    if not headers:
        raise ModelError(
            "no feature file can be used for pretraining",
            where=folder,
            found="; ".join(f"{i}: {reason}" for i, reason in list(skipped.items())[:3]),
        )
    header = cohort.require_one_making(headers, folder)
    rows = sum(header.n_patches for header in headers.values())
    filling = _Filling(
        features=_room((rows, header.width), memory_bytes), patch_index=np.empty(rows, np.int64)
    )
    used = []
    for slide_id, slide in zip(
        headers, read_ahead(_slide, (present[i] for i in headers)), strict=True
    ):
        if isinstance(slide, StorageError):
            skipped[slide_id] = str(slide)
        elif filling.add(slide):
            used.append(slide_id)
        else:
            skipped[slide_id] = "no region with tissue"
    if not used:
        raise ModelError(
            "no region with tissue to learn from", where=folder, found=f"{len(skipped)} slides"
        )
    counts = np.concatenate(filling.counts)
    return RegionGrids(
        features=filling.features[: filling.rows],
        patch_index=filling.patch_index[: filling.rows],
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        slides=tuple(used),
        without_tissue=filling.without_tissue,
        skipped=skipped,
        header=header,
    )


def _headers(
    paths: Mapping[str, Path], skipped: dict[str, str]
) -> Iterator[tuple[str, FeatureHeader]]:
    for slide_id, path in paths.items():
        try:
            header = read_feature_header(path)
        except StorageError as error:
            skipped[slide_id] = str(error)
            continue
        if header.slide_id == slide_id:
            yield slide_id, header
        else:
            skipped[slide_id] = f"{path}: the file holds {header.slide_id}"


def _slide(path: Path) -> SlideFeatures | StorageError:
    try:
        return read_features(path)
    except StorageError as error:
        return error


def _room(shape: tuple[int, int], memory_bytes: int) -> npt.NDArray[np.float16]:
    if 2 * shape[0] * shape[1] <= memory_bytes:
        return np.empty(shape, np.float16)
    # Only its own mapping keeps this file; it has no name that could stay behind.
    with tempfile.TemporaryFile(prefix=".hvit-tmp-") as file:
        mapped: np.memmap[Any, np.dtype[np.float16]] = np.memmap(
            file, np.float16, "w+", shape=shape
        )
    return mapped
