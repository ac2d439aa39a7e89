"""Matrix products of a network's own shapes: the rate that its arithmetic cannot exceed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from hvit_cli.settings import Precision

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, kw_only=True)
class Products:
    """Products of tokens with weights, one for each shape that a network's layers have.

    Attributes:
        inputs: (rows, in) for each shape.
        weights: (out, in) for each shape.
        backward: Whether the two products of the gradient are computed as well.
        times: How often a turn computes all of them.
    """

    inputs: tuple[Tensor, ...]
    weights: tuple[Tensor, ...]
    backward: bool = False
    times: int = 1

    @property
    def flop(self) -> float:
        """Floating-point operations of a turn."""
        once = sum(
            2.0 * x.shape[0] * w.numel() for x, w in zip(self.inputs, self.weights, strict=True)
        )
        return once * (3 if self.backward else 1) * self.times

    @torch.inference_mode()
    def __call__(self) -> None:
        """Computes them, and waits until they are there."""
        for _ in range(self.times):
            for x, weight in zip(self.inputs, self.weights, strict=True):
                y = F.linear(x, weight)
                if self.backward:
                    y @ weight
                    y.t() @ x
        synchronise(self.weights[0].device)


def layer_shapes(network: nn.Module) -> tuple[tuple[int, int], ...]:
    """The shapes (in, out) of the linear layers that occur most often in a network.

    For a Vision Transformer these are the four of its blocks: qkv, proj, fc1 and fc2.
    """
    counts: dict[tuple[int, int], int] = {}
    for layer in network.modules():
        if isinstance(layer, nn.Linear):
            shape = (layer.in_features, layer.out_features)
            counts[shape] = counts.get(shape, 0) + 1
    most = max(counts.values(), default=0)
    return tuple(shape for shape, count in counts.items() if count == most)


def products_of(
    network: nn.Module,
    rows: int,
    *,
    device: torch.device,
    precision: Precision,
    backward: bool = False,
    times: int = 1,
) -> Products | None:
    """Products of the network's most frequent layers over so many tokens; None without any."""
    shapes = layer_shapes(network)
    if not shapes:
        return None
    generator = torch.Generator().manual_seed(0)
    dtype = _DTYPES[precision]

    def drawn(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator).to(device, dtype)

    return Products(
        inputs=tuple(drawn(rows, width) for width, _ in shapes),
        weights=tuple(drawn(out, width) * 0.02 for width, out in shapes),
        backward=backward,
        times=times,
    )


def flop_of(compute: Callable[[], object]) -> float:
    """Floating-point operations of the matrix products and attentions of a computation."""
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        compute()
    return float(counter.get_total_flops())


def synchronise(device: torch.device) -> None:
    """Waits for what a GPU still computes; a processor has no such queue."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
