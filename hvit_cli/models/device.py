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
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        if torch.backends.mps.is_available():
            return torch.device("mps")
        return torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(
            "no such device",
            where="--device",
            found=repr(name),
            wanted="auto, cpu, cuda, cuda:1, mps",
        ) from error
    available = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not available.get(device.type, False):
        raise UsageError(
            "this device is not available", where="--device", found=name, hint="--device auto"
        )
    return device


def choose_precision(precision: Precision, device: torch.device) -> torch.dtype:
    """The number format of an encoder's arithmetic.

    "auto" is bfloat16 on CUDA and float32 elsewhere.

    Raises:
        UsageError: float16 on a processor, which has no arithmetic for it.
    """
    if precision == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    if precision == "float16" and device.type == "cpu":
        raise UsageError(
            "float16 needs a GPU",
            where="--precision",
            found=precision,
            wanted="float32 or bfloat16 on the processor",
        )
    formats = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    return formats[precision]
