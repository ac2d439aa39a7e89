"""What a step of pretraining is given: several crops of each patch (or region) of a batch.

Letters: b patches of this process's share of a batch, g large crops of each, l small ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Views(Protocol):
    """Crops of one size, crop after crop, each in the order of the batch.

    A plain tensor of normalised pixels (crops · b, 3, h, h) is one. What else is one is
    between a source of crops and the network that reads them.
    """

    def to(self, device: torch.device, *, non_blocking: bool = False) -> Views | Tensor:
        """The same crops on a device."""
        ...


@dataclass(frozen=True, kw_only=True)
class CropBatch:
    """The crops of a process's share of one batch.

    Attributes:
        views: The large crops (g · b of them, crop-major), then the small ones (l · b), if
            there are any.
        counts: Crops of each patch in each of `views`: (g, l), or (g,).
        size: b, the patches; 0 where a short batch leaves this process none.
    """

    views: tuple[Tensor | Views, ...]
    counts: tuple[int, ...]
    size: int

    def to(self, device: torch.device) -> CropBatch:
        """The same batch on a device."""
        views = tuple(view.to(device, non_blocking=True) for view in self.views)
        return CropBatch(views=views, counts=self.counts, size=self.size)


class CropSource(Protocol):
    """A pool of patches (or regions) from which batches of crops are drawn."""

    def __len__(self) -> int:
        """Patches in the pool."""
        ...

    def batches(self, steps: range) -> Iterator[CropBatch]:
        """Yields this process's share of the batch of each step.

        What a step yields is a function of the run's seed and the step's number alone, so
        that a run resumed at any step sees what an undisturbed one sees.
        """
        ...

    @property
    def skipped(self) -> Mapping[str, str]:
        """Slides that died while being read, and why; grows from batch to batch."""
        ...

    def close(self) -> None:
        """Lets go of slides, threads and processes."""
        ...
