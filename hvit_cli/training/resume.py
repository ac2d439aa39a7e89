"""`training_state.pt`: an unfinished run, whole after every epoch, so that it can go on."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from hvit_cli.errors import DamagedFileError, RecipeError
from hvit_cli.storage.recipe import Recipe, recipe_text, require_same_recipe
from hvit_cli.storage.states import require_whole_state, write_state
from hvit_cli.training.epochs import EpochRecord
from hvit_cli.training.fit import Training

SCHEMA = 1


def save_training(path: Path, training: Training, recipe: Recipe) -> None:
    """Writes the state after the last finished epoch, whole or not at all."""
    content = {
        "kind": "hvit-training-state",
        "schema": SCHEMA,
        "recipe": recipe_text(recipe),
        "records": [asdict(record) for record in training.records],
        **training.state(),
    }
    write_state(path, content)


def resume_training(path: Path, training: Training, recipe: Recipe) -> Sequence[EpochRecord]:
    """Puts a fresh run where the saved one stopped.

    The file is loaded with `weights_only=True`: nothing in it is executed.

    Returns:
        The records of the epochs that are already done; empty where there is no such file.

    Raises:
        RecipeError: The run was started with other settings, labels or features, or by another
            version.
        DamagedFileError: The file is not what `save_training` wrote.
    """
    if not path.is_file():
        return []
    require_whole_state(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        version = content["kind"], content["schema"]
        found = json.loads(content["recipe"])
        records = [EpochRecord(**record) for record in content["records"]]
    # What a damaged archive raises depends on the byte that is wrong.
    except (
        RuntimeError,
        EOFError,
        ValueError,
        KeyError,
        TypeError,
        OSError,
        pickle.UnpicklingError,
    ) as error:
        raise DamagedFileError(
            "the saved state of this training cannot be read",
            where=path,
            found=str(error).splitlines()[0] if str(error) else type(error).__name__,
        ) from error
    if version != ("hvit-training-state", SCHEMA):
        raise RecipeError(
            "the saved state is of another version",
            where=path,
            found=f"{version[0]} version {version[1]}",
            hint="--overwrite to train from the beginning",
        )
    require_same_recipe(path, found, recipe)
    training.restore(records, content)
    return records
