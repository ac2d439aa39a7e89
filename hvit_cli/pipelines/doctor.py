"""`hvit doctor`: whether hvit can work here, tried rather than guessed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from hvit_cli.demo.model import demo_model_folder
from hvit_cli.engine.limits import available_memory
from hvit_cli.health.check import Check
from hvit_cli.health.decoders import check_decoders
from hvit_cli.health.folder import check_folder, check_memory, check_space
from hvit_cli.health.model_files import check_model
from hvit_cli.health.networks import check_devices, check_masked_attention
from hvit_cli.health.versions import check_import_order, check_libraries, check_python


def examine(work: Path, model: Path | None = None) -> Iterator[Check]:
    """Looks at Python, libraries, decoders, devices, memory, the output folder and models.

    Args:
        work: The folder that runs would write to; it need not exist, and is left as it is.
        model: A model folder to look at beside the bundled one.

    Yields:
        A check at a time, as it is done.
    """
    yield check_python()
    yield from check_libraries()
    yield check_import_order()
    with tempfile.TemporaryDirectory(prefix="hvit-doctor-") as folder:
        yield from check_decoders(Path(folder))
    yield from check_devices()
    yield check_masked_attention()
    yield check_memory(available_memory())
    yield check_space(work)
    yield from check_folder(work)
    yield check_model(demo_model_folder(), "bundled model")
    if model is not None:
        yield check_model(model, f"model {model}")
