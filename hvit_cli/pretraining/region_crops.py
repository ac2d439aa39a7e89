"""Parts of regions: squares of the grid of patches, with tissue, mirrored and turned.

The original cuts its crops anywhere. Here a crop is drawn until it holds tissue, which is the
same as drawing uniformly among the places whose crop holds at least one patch with tissue:
given that a draw is accepted, every acceptable place is equally likely. A region with tissue
has such a place for every size of crop.

Letters: b regions, S patches along a side of a region, s along one of a crop, n = crops · b,
L tokens of the longest crop, D width of the features.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hvit_cli.pretraining.region_grids import RegionGrids
from hvit_cli.settings import AugmentationSettings

GLOBAL_SHARE = 0.875
"""Side of a large crop over that of its region: the grid on which positions are learned."""

LOCAL_SHARE = 0.375
"""Side of a small crop over that of its region, as in the original: 3 of 8 patches."""

DRAWS = 4
"""Random numbers that one crop takes: its place, and three for mirrors and turns."""


@dataclass(frozen=True, kw_only=True)
class RegionViews:
    """n crops of one size; those of tissue patches that a crop holds are its tokens.

    Attributes:
        features: (n, L, D) float16; 0 where a crop has fewer tokens.
        patch_index: (n, L) long, row-major position within the crop; 0 where none is.
        visible: (n, L) bool, which tokens are there.
        side: s, patches along one side of the crops.
    """

    features: Tensor
    patch_index: Tensor
    visible: Tensor
    side: int

    def __len__(self) -> int:
        return len(self.features)

    def to(self, device: torch.device, *, non_blocking: bool = False) -> RegionViews:
        """The same crops on a device."""
        return RegionViews(
            features=self.features.to(device, non_blocking=non_blocking),
            patch_index=self.patch_index.to(device, non_blocking=non_blocking),
            visible=self.visible.to(device, non_blocking=non_blocking),
            side=self.side,
        )


@dataclass(frozen=True, kw_only=True)
class RegionBatch:
    """b regions with their tissue patches, those of shorter ones filled up.

    Attributes:
        features: (b, P, D) float16.
        row: (b, P) int64, row of each patch in its region.
        column: (b, P) int64.
        present: (b, P) bool, False where filled up.
        side: S.
    """

    features: npt.NDArray[np.float16]
    row: npt.NDArray[np.int64]
    column: npt.NDArray[np.int64]
    present: npt.NDArray[np.bool_]
    side: int

    @property
    def tissue(self) -> npt.NDArray[np.bool_]:
        """(b, S, S), where the regions have tissue."""
        grid = np.zeros((len(self.row), self.side, self.side), np.bool_)
        region, token = np.nonzero(self.present)
        grid[region, self.row[region, token], self.column[region, token]] = True
        return grid


def crop_sides(side: int) -> tuple[int, int]:
    """Patches along one side of large and of small crops of a region: 7 and 3 of 8."""
    return max(int(side * GLOBAL_SHARE), 1), max(int(side * LOCAL_SHARE), 1)


def take_regions(grids: RegionGrids, regions: npt.NDArray[np.int64]) -> RegionBatch:
    """The named regions, in this order."""
    starts = grids.offsets[regions]
    counts = grids.offsets[regions + 1] - starts
    column = np.arange(counts.max(initial=0))
    present = column < counts[:, None]
    rows = np.where(present, starts[:, None] + column, 0)
    patch_index = grids.patch_index[rows]
    return RegionBatch(
        features=grids.features[rows],
        row=patch_index // grids.side,
        column=patch_index % grids.side,
        present=present,
        side=grids.side,
    )


def places_with_tissue(tissue: npt.NDArray[np.bool_], crop_side: int) -> npt.NDArray[np.bool_]:
    """Where a crop may begin.

    Args:
        tissue: (b, S, S).
        crop_side: s.

    Returns:
        (b, S - s + 1, S - s + 1), True where the crop that begins there holds tissue.
    """
    windows = np.lib.stride_tricks.sliding_window_view(tissue, (crop_side, crop_side), axis=(1, 2))
    return np.asarray(windows.any((-2, -1)), np.bool_)


def draw_places(
    allowed: npt.NDArray[np.bool_], draws: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Picks one of each region's allowed places, all equally likely.

    Args:
        allowed: (b, O, O), at least one place each.
        draws: (b,), uniform in [0, 1).

    Returns:
        Rows and columns (b,) at which the crops begin.
    """
    flat = allowed.reshape(len(allowed), -1)
    wanted = (draws * flat.sum(1)).astype(np.int64)
    place = (np.cumsum(flat, 1) > wanted[:, None]).argmax(1)
    return place // allowed.shape[2], place % allowed.shape[2]


def cut_crops(
    batch: RegionBatch,
    crop_side: int,
    draws: npt.NDArray[np.float64],
    augmentation: AugmentationSettings,
) -> RegionViews:
    """Cuts crops of one size, mirrored (and, where asked for, turned) at random.

    With `turns`, a crop is mirrored top to bottom and its diagonals swapped, each half of the
    time, which with the mirror makes all eight ways to lay a square equally likely.

    Args:
        batch: The regions.
        crop_side: s.
        draws: (crops, b, DRAWS), uniform in [0, 1).
        augmentation: How often crops are mirrored, and whether they are turned.

    Returns:
        crops · b crops, all of the first draw before those of the second.
    """
    allowed = places_with_tissue(batch.tissue, crop_side)
    first = [draw_places(allowed, draw[:, 0]) for draw in draws]
    top, left = (np.concatenate(part)[:, None] for part in zip(*first, strict=True))
    crops = len(draws)
    row = np.tile(batch.row, (crops, 1)) - top
    column = np.tile(batch.column, (crops, 1)) - left
    inside = np.tile(batch.present, (crops, 1))
    inside &= (row >= 0) & (row < crop_side) & (column >= 0) & (column < crop_side)
    mirror, upend, swap = np.moveaxis(draws.reshape(-1, DRAWS)[:, None, 1:], -1, 0)
    last = crop_side - 1
    column = np.where(mirror < augmentation.flip, last - column, column)
    if augmentation.turns:
        row = np.where(upend < 0.5, last - row, row)
        row, column = np.where(swap < 0.5, (column, row), (row, column))
    length = int(inside.sum(1).max(initial=0))
    order = np.argsort(~inside, axis=1, kind="stable")[:, :length]
    visible = np.take_along_axis(inside, order, 1)
    region = np.tile(np.arange(len(batch.row)), crops)[:, None]
    index = np.take_along_axis(row * crop_side + column, order, 1)
    return RegionViews(
        features=torch.from_numpy(np.where(visible[..., None], batch.features[region, order], 0)),
        patch_index=torch.from_numpy(np.where(visible, index, 0)),
        visible=torch.from_numpy(visible),
        side=crop_side,
    )
