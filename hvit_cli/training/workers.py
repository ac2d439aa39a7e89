"""Processes that train one model together, as `torchrun` starts them.

Every process holds the same weights, takes its share of each batch's slides, and adds its
gradient to the others' before the step: the step is that of one process with the whole batch.
The gradients of an aggregator are a few megabytes, so they travel in one piece after the
backward pass; a process whose share of a short batch is empty simply adds nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, distributed

from hvit_cli.errors import UsageError

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Workers:
    """This process and its companions.

    Attributes:
        rank: Number of this process, from 0; 0 writes files and talks.
        count: Processes in all.
        local_rank: Number of this process on its machine.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0

    @property
    def first(self) -> bool:
        """Whether this process writes files and talks to the user."""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """The items of this process: every `count`-th."""
        return items[self.rank :: self.count]

    def add_gradients(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        """Replaces every gradient by the sum over all processes."""
        if self.count == 1:
            return
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        together = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(together)
        parts = torch.split(together, [p.numel() for p in parameters])
        for parameter, part in zip(parameters, parts, strict=True):
            parameter.grad = part.view_as(parameter)

    def add(self, values: Tensor) -> Tensor:
        """The sum of a tensor on the CPU over all processes."""
        if self.count > 1:
            values = values.clone()
            distributed.all_reduce(values)
        return values

    def wait(self) -> None:
        """Returns when all processes have come here."""
        if self.count > 1:
            self.add(torch.zeros(1))

    def device(self, name: str) -> str:
        """The device this process should choose: its own GPU where there are several."""
        several = self.count > 1 and torch.cuda.is_available()
        return f"cuda:{self.local_rank}" if several and name in ("auto", "cuda") else name


ALONE = Workers()


@contextmanager
def joined_workers() -> Iterator[Workers]:
    """Joins the processes that `torchrun` started; alone where it did not.

    Raises:
        UsageError: The environment names companions that cannot be reached.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1 or "RANK" not in os.environ:
        yield ALONE
        return
    cuda = torch.cuda.is_available()
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    if cuda:
        torch.cuda.set_device(local_rank)
    try:
        distributed.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo")
    except (RuntimeError, ValueError) as error:
        raise UsageError(
            "the processes that train together cannot reach each other",
            where="WORLD_SIZE",
            found=str(error).splitlines()[0],
            hint="torchrun --nproc-per-node N -m hvit_cli train …",
        ) from error
    try:
        yield Workers(rank=int(os.environ["RANK"]), count=count, local_rank=local_rank)
    finally:
        distributed.destroy_process_group()
