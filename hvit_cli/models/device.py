"""On which device networks run, and in which number format."""

from __future__ import annotations

import torch

from hvit_cli.errors import ModelError
from hvit_cli.settings import Precision


def choose_device(name: str) -> torch.device:
    """The device behind `auto`, `cpu`, `cuda`, `cuda:1` or `mps`.

    `auto` is the first CUDA device, else Apple's, else the processor.

    Raises:
        ModelError: There is no such device here.
    """
    has_cuda, has_mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if name == "auto":
        return torch.device("cuda" if has_cuda else "mps" if has_mps else "cpu")
    present = ["cpu", *(["mps"] * has_mps), *(["cuda"] * has_cuda)]
    present += [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    if name not in present:
        raise ModelError(
            "there is no such device here",
            where="--device",
            found=name,
            wanted=f"auto or one of {', '.join(present)}",
        )
    return torch.device(name)


def choose_precision(precision: Precision, device: torch.device) -> Precision:
    """The number format behind `auto`: bfloat16 on CUDA, float32 elsewhere."""
    if precision != "auto":
        return precision
    return "bfloat16" if device.type == "cuda" else "float32"
