"""`training_state.pt`: an unfinished pretraining run, whole, so that it can go on at its step."""

from __future__ import annotations

import json
import pickle
from dataclasses import asdict
from pathlib import Path

import torch

from hvit_cli.errors import DamagedFileError, RecipeError
from hvit_cli.pretraining.fit import Pretraining
from hvit_cli.pretraining.records import PretrainingRecord
from hvit_cli.storage.recipe import Recipe, recipe_text, require_same_recipe
from hvit_cli.storage.states import require_whole_state, write_state

STATE_FILE = "training_state.pt"

_KIND, _SCHEMA = "hvit-pretraining-state", 1


def save_pretraining(path: Path, pretraining: Pretraining, recipe: Recipe) -> None:
    """Writes the state after the last finished step, whole or not at all."""
    content = {
        "kind": _KIND,
        "schema": _SCHEMA,
        "recipe": recipe_text(recipe),
        "records": [asdict(record) for record in pretraining.records],
        **pretraining.state(),
    }
    write_state(path, content)


def resume_pretraining(path: Path, pretraining: Pretraining, recipe: Recipe) -> int:
    """Puts a fresh run where the saved one stopped.

    The file is loaded with `weights_only=True`: nothing in it is executed.

    Returns:
        Steps that are already done; 0 where there is no such file.

    Raises:
        RecipeError: The run was started with other settings or slides, or by another version.
        DamagedFileError: The file is not what `save_pretraining` wrote.
    """
    if not path.is_file():
        return 0
    require_whole_state(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        version = content["kind"], content["schema"]
        found = json.loads(content["recipe"])
        records = [PretrainingRecord(**record) for record in content["records"]]
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
            "the saved state of this pretraining cannot be read",
            where=path,
            found=str(error).splitlines()[0] if str(error) else type(error).__name__,
        ) from error
    if version != (_KIND, _SCHEMA):
        raise RecipeError(
            "the saved state is of another version",
            where=path,
            found=f"{version[0]} version {version[1]}",
            hint="--overwrite to start from the beginning",
        )
    require_same_recipe(path, found, recipe)
    pretraining.restore(records, content)
    return pretraining.step
