"""Where networks run, and in which number format, from what the user asked for."""

from __future__ import annotations

import torch

from hvit_cli.errors import UsageError
from hvit_cli.settings import Precision


def choose_device(name: str) -> torch.device:
    """The device called `name`; "auto" is the first of CUDA, Apple's MPS and the processor.

    Raises:
        UsageError: There is no such device here.
    """
    has_cuda, has_mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if name == "auto":
        return torch.device("cuda" if has_cuda else "mps" if has_mps else "cpu")
    present = ["cpu", *(["mps"] * has_mps), *(["cuda"] * has_cuda)]
    present += [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    if name not in present:
        raise UsageError(
            "there is no such device here",
            where="--device",
            found=repr(name),
            wanted=f"auto or one of {', '.join(present)}",
        )
    return torch.device(name)


def choose_precision(precision: Precision, device: torch.device) -> Precision:
    """The number format of an encoder's arithmetic, as it is recorded.

    "auto" is bfloat16 on CUDA and float32 elsewhere.

    Raises:
        UsageError: float16 on a processor, which has no arithmetic for it.
    """
    if precision == "auto":
        return "bfloat16" if device.type == "cuda" else "float32"
    if precision == "float16" and device.type == "cpu":
        raise UsageError(
            "float16 needs a GPU",
            where="--precision",
            found=precision,
            wanted="float32 or bfloat16 on the processor",
        )
    return precision
