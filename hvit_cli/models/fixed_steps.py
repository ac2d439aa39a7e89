"""Patches through a network in steps of one shape, whatever their number.

A matrix library may sum in another order for another number of rows. With steps of one shape, the
last one filled up, a patch's features do not depend on how many others came along.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hvit_cli.errors import ModelError

Pixels = npt.NDArray[np.uint8]
Arrays = Sequence[npt.NDArray[Any]]
Step = tuple[list[Tensor], int]
"""What is sent of some patches, and how many of them are not there to fill the step."""

_LOG = logging.getLogger(__name__)

PROCESSOR_STEP = 8
"""Patches per step on a processor: the fewest at the full rate."""

# What PyTorch's allocators say where they raise a plain RuntimeError.
_NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "bad_alloc")


class FixedSteps:
    """Runs a function over patches, `size` at a time.

    Where memory runs out, the size is halved for good and the step done again: it costs time,
    and no patch.

    Args:
        compute: (n, 3, h, h) uint8 on the device, and what else there is of those patches
            → (n, D) float32 there.
        size: Patches per step.
        device: Where it computes.

    Attributes:
        size: Patches per step now.
    """

    def __init__(self, compute: Callable[..., Tensor], size: int, device: torch.device) -> None:
        self.compute = compute
        self.device = device
        self.size = size

    def run(self, patches: Pixels, *beside: npt.NDArray[Any]) -> Tensor:
        """(n, h, h, 3) uint8, n ≥ 1 → (n, D) float32 on the processor.

        Args:
            patches: The patches.
            beside: Arrays of n entries that go with them, (n, …).

        Raises:
            ModelError: Memory does not suffice for a single patch.
        """
        done: list[Tensor] = []
        finished = 0
        while finished < len(patches):
            try:
                for part in self._steps([array[finished:] for array in (patches, *beside)]):
                    done.append(part)
                    finished += len(part)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if self.size == 1:
                    raise ModelError(
                        "memory does not suffice to embed a single patch",
                        where=str(self.device),
                        found=(str(error).splitlines() or [type(error).__name__])[0],
                        hint="a smaller encoder, --precision bfloat16 or fewer --jobs",
                    ) from error
            else:
                break
            # Outside `except`, where the error no longer holds on to what it failed with.
            self.size //= 2
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            _LOG.warning("memory ran out: going on with %d patches a step", self.size)
        return torch.cat(done).cpu()

    def _steps(self, arrays: Arrays) -> Iterator[Tensor]:
        sent = _sent_ahead if self.device.type == "cuda" else _sent
        for (pixels, *beside), count in sent(arrays, self.size, self.device):
            yield self.compute(pixels.permute(0, 3, 1, 2), *beside)[:count]


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error says that memory ran out, on a GPU or a processor."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return any(sign in str(error).lower() for sign in _NO_MEMORY)


def _filled(arrays: Arrays, size: int) -> Iterator[Step]:
    """Steps of one size, and how many of each are patches: the last is filled with zeros."""
    for start in range(0, len(arrays[0]), size):
        parts = [array[start : start + size] for array in arrays]
        count = len(parts[0])
        if count < size:
            parts = [
                np.concatenate([part, np.zeros((size - count, *part.shape[1:]), part.dtype)])
                for part in parts
            ]
        yield [torch.from_numpy(np.ascontiguousarray(part)) for part in parts], count


def _sent(arrays: Arrays, size: int, device: torch.device) -> Iterator[Step]:
    for step, count in _filled(arrays, size):
        yield [part.to(device) for part in step], count


def _sent_ahead(arrays: Arrays, size: int, device: torch.device) -> Iterator[Step]:
    """Steps on a GPU: each is copied while the one before is computed."""
    copying = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    computing = torch.cuda.current_stream(device)
    ahead: Step | None = None
    for step, count in _filled(arrays, size):
        with torch.cuda.stream(copying):
            moved = [part.pin_memory().to(device, non_blocking=True) for part in step]
        copied = copying.record_event()
        if ahead is not None:
            yield ahead
        computing.wait_event(copied)
        for part in moved:
            part.record_stream(computing)
        ahead = moved, count
    if ahead is not None:
        yield ahead
