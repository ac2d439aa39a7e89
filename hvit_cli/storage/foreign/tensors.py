"""Single tensors in `torch.save` files, read without running anything they contain."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hvit_cli.errors import StorageError
from hvit_cli.storage.atomic import whole_file
from hvit_cli.storage.foreign.patches import require_plausible


def read_tensor(path: Path) -> npt.NDArray[Any]:
    """The one tensor of a file, as an array; bfloat16 becomes float32.

    Raises:
        StorageError: The file cannot be read or holds something else.
    """
    import torch

    try:
        with warnings.catch_warnings():
            # PyTorch warns of unusual pickle protocols before it reads or refuses them.
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged archive raises whatever its wrong byte leads to
        raise StorageError(
            "the file is damaged or holds more than a tensor", where=path, wanted="one tensor"
        ) from error
    if not isinstance(content, torch.Tensor):
        raise StorageError("the file holds no tensor", where=path, found=type(content).__name__)
    tensor = content.detach()
    # A few stored bytes can stand for any number of elements.
    require_plausible(path, tensor.numel() * tensor.element_size())
    return np.asarray((tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy())


def write_tensor(path: Path, array: npt.NDArray[Any]) -> None:
    """Writes an array as a tensor of its own type, whole or not at all."""
    import torch

    # By its path, PyTorch would write the temporary's name into the archive.
    with whole_file(path) as temporary, temporary.open("wb") as file:
        torch.save(torch.from_numpy(np.ascontiguousarray(array)), file)


def read_npy(path: Path) -> npt.NDArray[Any]:
    """The array of a .npy file, without pickled objects.

    Raises:
        StorageError: The file cannot be read.
    """
    try:
        # Opened here: NumPy leaves a damaged archive open.
        with path.open("rb") as file:
            return np.asarray(np.load(file, allow_pickle=False))
    except Exception as error:  # a damaged header raises whatever its wrong byte leads to
        raise StorageError(
            "this .npy file cannot be read", where=path, found=error or type(error).__name__
        ) from error
