"""Whether the weights of a model are those it was written with."""

from __future__ import annotations

from pathlib import Path

from hvit_cli.errors import HvitError, ModelError
from hvit_cli.health.check import Check
from hvit_cli.models.checkpoints import read_state_dict
from hvit_cli.models.encoders import hash_weights
from hvit_cli.storage.models import read_model


def check_model(folder: Path, name: str) -> Check:
    """Reads a model's description and hashes every weight file it names.

    Args:
        folder: The model folder.
        name: What to call it.
    """
    try:
        model = read_model(folder)
        files = len(model.members)
        if model.encoder.file:
            files += 1
            found = hash_weights(read_state_dict(folder / model.encoder.file))
            if found != model.encoder.weights_hash:
                raise ModelError(
                    "the encoder's weights are not those of the model",
                    where=folder / model.encoder.file,
                    found=found[:12],
                    wanted=model.encoder.weights_hash[:12],
                )
    except HvitError as error:
        hint = error.hint or "a fresh copy of the model, or a fresh installation of hvit"
        return Check(name=name, state="broken", found=_without_hint(error), hint=hint)
    return Check(
        name=name, state="fine", found=f"{model.name}, {files} weight files with their hashes"
    )


def _without_hint(error: HvitError) -> str:
    plain = type(error)(error.what, where=error.where, found=error.found, wanted=error.wanted)
    return str(plain)
