"""Weights as safetensors, whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from hvit_cli.errors import StorageError
from hvit_cli.storage.atomic import whole_file
from hvit_cli.storage.temporaries import temporary_beside


def write_weights(path: Path, weights: Mapping[str, Tensor]) -> None:
    """Writes tensors under their names.

    Raises:
        StorageError: They cannot be written.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    # Safetensors writes to a name of its own beside the one it is given. It is given a folder of
    # its own, which is swept where the process is killed.
    private = f"{temporary_beside(path).name}-"
    try:
        with (
            whole_file(path) as temporary,
            TemporaryDirectory(prefix=private, dir=path.parent) as folder,
        ):
            made = Path(folder) / "weights"
            save_file(tensors, made)
            made.replace(temporary)
    except SafetensorError as error:
        raise StorageError(
            "cannot be written",
            where=path,
            found=error,
            hint="another folder with -w or -o, or free some space",
        ) from error
