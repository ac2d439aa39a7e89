"""The loss and gradient of one batch of slides, computed a few slides at a time.

The loss of a batch is the mean over its slides. Each micro-batch contributes its sum divided
by the slides of the whole batch, so that accumulated gradients are those of the batch
computed at once, however the batch is cut.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

from hvit_cli.models.aggregator import Aggregator
from hvit_cli.models.bags import PatchBag
from hvit_cli.settings import Precision, TaskSettings
from hvit_cli.training.bags import micro_batches
from hvit_cli.training.objectives import loss_sum

_REGRESSION = TaskSettings()


# A processor is fastest while the work fits its cache, a GPU while there is much of it.
_TOKENS_AT_ONCE = {"cpu": 2048}
_TOKENS_ELSEWHERE = 16384


def tokens_at_once(asked: int | None, device: torch.device) -> int:
    """Patches and regions that one pass through the network holds, as asked or by the device."""
    return asked or _TOKENS_AT_ONCE.get(device.type, _TOKENS_ELSEWHERE)


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """The context in which the network computes; "auto" is float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def accumulate_gradients(
    aggregator: Aggregator,
    bags: Iterable[PatchBag],
    labels: Sequence[float],
    *,
    budget: int,
    precision: Precision = "auto",
    task: TaskSettings = _REGRESSION,
    batch_slides: int | None = None,
) -> float:
    """Adds the gradient of the batch's mean loss to the parameters' `grad`.

    Args:
        aggregator: In training mode, on its device.
        bags: The slides of the batch, read one after another and not kept.
        labels: The label of each.
        budget: Tokens computed at once.
        precision: Number format of the forward pass.
        task: Says which loss.
        batch_slides: Slides of the whole batch, where other processes hold some of them.

    Returns:
        The sum of the losses of these slides.
    """
    device = device_of(aggregator)
    total = torch.zeros((), device=device)
    done, whole = 0, batch_slides or len(labels)
    for part in micro_batches(bags, budget):
        wanted = torch.tensor(labels[done : done + len(part)], dtype=torch.float32, device=device)
        with autocast(device, precision):
            outputs = aggregator([_on(device, bag) for bag in part]).score
        loss = loss_sum(outputs.float(), wanted, task)
        torch.autograd.backward(loss / whole)
        total += loss.detach()
        done += len(part)
    return float(total)


@torch.no_grad()
def outputs_of(
    aggregator: Aggregator, bags: Iterable[PatchBag], *, budget: int, precision: Precision = "auto"
) -> Iterator[Tensor]:
    """Yields the outputs (outputs,) of each slide on the CPU; the aggregator is in evaluation."""
    device = device_of(aggregator)
    for part in micro_batches(bags, budget):
        with autocast(device, precision):
            score = aggregator([_on(device, bag) for bag in part]).score
        yield from score.float().cpu()


def device_of(aggregator: Aggregator) -> torch.device:
    """Where the weights of an aggregator lie."""
    return next(aggregator.parameters()).device


def _on(device: torch.device, bag: PatchBag) -> PatchBag:
    # Bags travel as float16 and are computed from float32; autocast knows no float16 on a CPU.
    return PatchBag(
        features=bag.features.to(device, non_blocking=True).float(),
        region_index=bag.region_index.to(device, non_blocking=True),
        patch_index=bag.patch_index.to(device, non_blocking=True),
        regions=bag.regions,
    )
