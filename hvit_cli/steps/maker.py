"""Who made features that come from elsewhere: an encoder that is here, or a name alone."""

from __future__ import annotations

import json
from pathlib import Path

from hvit_cli.errors import StorageError, UsageError
from hvit_cli.models.encoder_specs import EncoderSpec
from hvit_cli.models.encoders import NORMALISATIONS, PatchEncoder
from hvit_cli.models.named_encoder import load_encoder
from hvit_cli.settings import Normalisation
from hvit_cli.steps.regrouping import Maker

UNKNOWN = json.dumps("unknown")


def load_maker(encoder: str, normalisation: Normalisation | None) -> tuple[Maker, PatchEncoder]:
    """The maker of features, with its weights.

    Args:
        encoder: What `--encoder` takes.
        normalisation: What the patches were normalised with; None takes the encoder's own.

    Raises:
        ModelError: The encoder cannot be loaded.
    """
    loaded = load_encoder(encoder, normalisation=normalisation, precision="float32")
    maker = Maker(
        name=loaded.spec.name,
        folder_name=loaded.spec.folder_name,
        weights_hash=loaded.weights_hash,
        normalisation=loaded.normalisation_text,
    )
    return maker, loaded


def named_maker(name: str, normalisation: Normalisation | None) -> Maker:
    """The maker of features of which only the name is known.

    The hash says so: it equals that of other features of this name, and of no weights.

    Raises:
        UsageError: The name cannot be part of a folder's name.
    """
    fit = EncoderSpec(name=name, width=1, input_px=1, token_px=None).folder_name
    if not name.strip() or fit == "encoder" != name:
        raise UsageError("this cannot name an encoder", where="--encoder-name", found=repr(name))
    return Maker(
        name=fit,
        folder_name=fit,
        weights_hash=f"unverified:{fit}",
        normalisation=UNKNOWN if normalisation is None else _text(normalisation),
    )


def required_name(name: str | None) -> str:
    """The name of an encoder.

    Raises:
        UsageError: Nobody says it.
    """
    if name is None:
        raise UsageError(
            "which patch encoder made the features? the files do not say",
            where="--encoder-name",
            wanted="its name, or --encoder with its weights",
        )
    return name


def require_encoder(stated: str, maker: Maker, path: Path) -> None:
    """Refuses features of another encoder than the run's.

    Raises:
        StorageError: They are.
    """
    if named_maker(stated, None).name != maker.name:
        raise StorageError(
            "these features are another encoder's",
            where=path,
            found=stated,
            wanted=maker.name,
            hint="a folder of one encoder, or --encoder-name",
        )


def _text(normalisation: Normalisation) -> str:
    mean, std = NORMALISATIONS[normalisation]
    return json.dumps({"mean": list(mean), "std": list(std)})
