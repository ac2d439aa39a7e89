"""State dicts from files of other people, read without running anything they contain.

Reads safetensors and what `torch.save` wrote, unwraps the dictionaries in which training
programs keep their networks (`teacher`, `student`, …), and strips the prefixes that wrappers
leave (`module.`, `backbone.`). What the entries must then be called and shaped is the
business of `hvit_cli.models.loading`.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from hvit_cli.errors import CheckpointError

Network = Literal["teacher", "student"]

_PREFIXES = ("module.", "backbone.")
_WRAPPERS = ("state_dict", "model")
# A zip archive, or the pickle of PyTorch before 1.6.
_TORCH_STARTS = (b"PK\x03\x04", b"\x80")
_WANTED = "a state dict in safetensors or torch.save format"

# DINO's snapshots hold the command line as an argparse.Namespace and the loss as a numpy
# scalar, which pickles as a function, a dtype and the class of that dtype. Nothing else.
_NUMPY_SCALAR = np.float64(0).__reduce__()[0]
_ALLOWED: list[Any] = [
    argparse.Namespace,
    np.dtype,
    *{type(np.dtype(code)) for code in np.typecodes["All"] if code not in "OV"},
    _NUMPY_SCALAR,
    (_NUMPY_SCALAR, "numpy.core.multiarray.scalar"),
    (_NUMPY_SCALAR, "numpy._core.multiarray.scalar"),
]


def read_state_dict(path: Path, *, network: Network = "teacher") -> dict[str, Tensor]:
    """Reads the tensors of one network from a file.

    Args:
        path: A safetensors file, or a file of `torch.save`.
        network: Which to take where the file holds a teacher and a student.

    Returns:
        Name → tensor on the CPU, wrappers' prefixes stripped.

    Raises:
        CheckpointError: The file is missing, damaged, of another kind, holds a class that is
            not allowed, or holds no state dict.
    """
    if not path.is_file():
        raise CheckpointError(
            "there is no such weight file", where=path, wanted=_WANTED, hint="another path"
        )
    if path.stat().st_size == 0:
        raise CheckpointError("the weight file is empty", where=path, wanted=_WANTED)
    with path.open("rb") as file:
        start = file.read(9)
    if start[8:9] == b"{" or path.suffix == ".safetensors":
        return _strip_prefixes(_read_safetensors(path), path)
    if not start.startswith(_TORCH_STARTS):
        raise CheckpointError("the file is no weight file", where=path, wanted=_WANTED)
    return _strip_prefixes(_unwrap(_read_torch(path), path, network), path)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return dict(load_file(path, device="cpu"))
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            "the file is damaged or is not safetensors", where=path, found=error
        ) from error


def _read_torch(path: Path) -> Any:
    try:
        with torch.serialization.safe_globals(_ALLOWED), warnings.catch_warnings():
            # PyTorch warns of unusual pickle protocols before it reads or refuses them.
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged archive raises whatever its wrong byte leads to
        forbidden = _forbidden_class(str(error))
        if forbidden is None:
            raise CheckpointError(
                "the file is damaged or holds no weights", where=path, wanted=_WANTED
            ) from error
        raise CheckpointError(
            "the file holds an object that is not loaded, because loading it could run code",
            where=path,
            found=forbidden,
            wanted="tensors, plain values, argparse.Namespace and numpy scalars only",
            hint="saving its state dict alone, best as safetensors",
        ) from error


def _forbidden_class(message: str) -> str | None:
    """The class that PyTorch's restricted unpickler refused, read off its message."""
    for before in (
        "Unsupported global: GLOBAL ",
        "Unsupported class ",
        "Trying to load unsupported GLOBAL ",
    ):
        if before in message:
            return message.split(before, 1)[1].split()[0].rstrip(".,'\"")
    return None


def _unwrap(content: Any, path: Path, network: Network) -> dict[str, Tensor]:
    """Opens the dictionaries around a state dict."""
    while isinstance(content, Mapping):
        if content and all(isinstance(value, Tensor) for value in content.values()):
            return {str(name): value for name, value in content.items()}
        inner = [name for name in (network, *_WRAPPERS) if isinstance(content.get(name), Mapping)]
        if not inner:
            break
        content = content[inner[0]]
    found = (
        ", ".join(map(str, content)) or "an empty dictionary"
        if isinstance(content, Mapping)
        else type(content).__name__
    )
    raise CheckpointError(
        "the file holds no state dict",
        where=path,
        found=found,
        wanted=f"name → tensor, plain or under {', '.join((network, *_WRAPPERS))}",
    )


def _strip_prefixes(state: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    stripped: dict[str, Tensor] = {}
    for name, tensor in state.items():
        bare = name
        while bare.startswith(_PREFIXES):
            bare = bare.split(".", 1)[1]
        if bare in stripped:
            raise CheckpointError(
                "two entries of the file have the same name once prefixes are stripped",
                where=path,
                found=name,
            )
        stripped[bare] = tensor
    return stripped
