"""`models/<name>/`: a trained model as a folder that stands alone.

    model.json              what the model is, how it reads slides, how it was made
    encoder.safetensors     the patch encoder's weights (absent where a hub name identifies it)
    <member>.safetensors    one aggregator each: a fold, a seed, an attention kind

`model.json` names the SHA-256 of every weight file and carries its own; reading verifies them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hvit_cli.errors import HvitError, ModelError
from hvit_cli.settings import (
    AggregatorSettings,
    Attention,
    EncoderInput,
    MaskLevel,
    ReadingSettings,
    TaskSettings,
    TilingSettings,
    as_recipe,
    from_recipe,
)
from hvit_cli.settings.seal import SEAL, alteration, file_sha256, sealed
from hvit_cli.storage.atomic import write_text

SCHEMA = 1
MODEL_FILE = "model.json"


@dataclass(frozen=True, kw_only=True)
class EncoderIdentity:
    """Which patch encoder a model was trained with.

    Attributes:
        name: A folder-safe name, as in the features' folder.
        source: What `--encoder` takes to find it: a timm name, `hf-hub:…`, or "" where
            the weights lie in this folder.
        file: File name of the weights in this folder, or "".
        weights_hash: SHA-256 over the weights, as stored with features.
        normalisation: JSON text of the input's mean and standard deviation.
        precision: Number format of the encoder's arithmetic when it was used.
        architecture: What is needed to build the network from `file`.
        encoder_input: How patches are fitted to the network: auto, native or resize.
    """

    name: str
    source: str
    file: str
    weights_hash: str
    normalisation: str
    precision: str
    architecture: dict[str, Any] = field(default_factory=dict)
    encoder_input: EncoderInput = "auto"


@dataclass(frozen=True, kw_only=True)
class ModelMember:
    """One trained aggregator of a model.

    Attributes:
        file: File name of its weights in the folder.
        sha256: SHA-256 of that file.
        attention: The attention it was trained with.
        fold: The fold it was tuned on, or nothing.
        seed: The seed of its weights, where several were trained; else nothing.
        metrics: Numbers measured while training, best epoch first of all.
    """

    file: str
    sha256: str
    attention: Attention
    fold: int | None = None
    seed: int | None = None
    metrics: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ModelFolder:
    """A model folder's description, `model.json`.

    Attributes:
        path: The folder.
        name: What tables call the model.
        note: A sentence that goes with every result, or "".
        watermark: A sentence written across every picture, or "".
        licence: Licence note of the weights.
        encoder: The patch encoder.
        reading: Target spacing and tolerance the model was trained at.
        tiling: Regions, patches and grid the model was trained with.
        aggregator: Sizes of the region and slide Transformers.
        members: The trained aggregators; several of one attention are an ensemble.
        training: Settings, slide list and label hash of the training, as plain values.
        mask_level: What was masked while it was trained; models that do not say it, patches.
        task: What its outputs mean; models written before it was recorded regress ISUP grades.
    """

    path: Path
    name: str
    note: str
    watermark: str
    licence: str
    encoder: EncoderIdentity
    reading: ReadingSettings
    tiling: TilingSettings
    aggregator: AggregatorSettings
    members: tuple[ModelMember, ...]
    training: dict[str, Any] = field(default_factory=dict)
    task: TaskSettings = field(default_factory=TaskSettings)
    mask_level: MaskLevel = "region"

    def members_for(self, attention: Attention) -> tuple[ModelMember, ...]:
        """The aggregators trained with `attention`; empty if there are none."""
        return tuple(member for member in self.members if member.attention == attention)

    @property
    def attentions(self) -> tuple[Attention, ...]:
        """The attention kinds that were trained, masked first."""
        trained = {member.attention for member in self.members}
        kinds: tuple[Attention, ...] = ("masked", "plain")
        return tuple(kind for kind in kinds if kind in trained)


def sha256_of(path: Path) -> str:
    """SHA-256 of a whole file."""
    return file_sha256(path)


def write_model(model: ModelFolder) -> None:
    """Writes `model.json` into the model's folder; weight files must lie there already.

    Raises:
        ModelError: A weight file is missing.
    """
    for file in _weight_files(model):
        if not (model.path / file).is_file():
            raise ModelError("a weight file of the model is missing", where=model.path / file)
    description = {
        "kind": "hvit-model",
        "schema": SCHEMA,
        "name": model.name,
        "note": model.note,
        "watermark": model.watermark,
        "licence": model.licence,
        "encoder": as_recipe(model.encoder),
        "reading": as_recipe(model.reading),
        "tiling": as_recipe(model.tiling),
        "aggregator": as_recipe(model.aggregator),
        "task": as_recipe(model.task),
        "members": [as_recipe(member) for member in model.members],
        "training": model.training,
        # Named only where tokens are masked, so that other descriptions stay what they were.
        **({} if model.mask_level == "region" else {"mask_level": model.mask_level}),
    }
    write_text(
        model.path / MODEL_FILE,
        json.dumps(sealed(description), indent=2, ensure_ascii=False) + "\n",
    )


def read_model(path: Path) -> ModelFolder:
    """Reads a model folder and verifies its weight files.

    Args:
        path: The folder, or the `model.json` in it.

    Raises:
        ModelError: It is not a model folder, or a weight file is missing or altered.
    """
    folder = path.parent if path.name == MODEL_FILE else path
    file = folder / MODEL_FILE
    if not file.is_file():
        raise ModelError(
            "not a model folder",
            where=folder,
            wanted=f"a folder with {MODEL_FILE}",
            hint="the folder that hvit train wrote",
        )
    try:
        description = json.loads(file.read_text(encoding="utf-8"))
        if alteration(description) is not None:
            raise ModelError(
                "it is not what was written (checksum)",
                hint=f"an undamaged copy; or without its entry {SEAL}, if you changed it yourself",
            )
        model = _model(folder, description)
    except HvitError as error:
        raise ModelError(f"the model's description is not valid: {error}", where=file) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(
            "the model's description cannot be read",
            where=file,
            found=f"{type(error).__name__} {error}",
        ) from error
    _require_weights(model)
    return model


def _model(folder: Path, description: dict[str, Any]) -> ModelFolder:
    if (description.get("kind"), description.get("schema")) != ("hvit-model", SCHEMA):
        raise ModelError(
            "not a model description of this version",
            found=f"{description.get('kind')} version {description.get('schema')}",
            wanted=f"hvit-model version {SCHEMA}",
        )
    members = tuple(ModelMember(**member) for member in description["members"])
    if not members or any(member.attention not in ("masked", "plain") for member in members):
        raise ModelError("a model needs members with masked or plain attention")
    level = description.get("mask_level", "region")
    if level not in ("region", "patch", "both"):
        raise ModelError("no such mask level", found=level, wanted="region, patch or both")
    return ModelFolder(
        path=folder,
        name=str(description["name"]),
        note=str(description["note"]),
        watermark=str(description["watermark"]),
        licence=str(description["licence"]),
        encoder=EncoderIdentity(**description["encoder"]),
        reading=from_recipe(ReadingSettings, description["reading"]),
        tiling=from_recipe(TilingSettings, description["tiling"]),
        aggregator=from_recipe(AggregatorSettings, description["aggregator"]),
        members=members,
        training=dict(description["training"]),
        task=from_recipe(TaskSettings, description.get("task", {})),
        mask_level=level,
    )


def _weight_files(model: ModelFolder) -> list[str]:
    encoder = [model.encoder.file] if model.encoder.file else []
    return encoder + [member.file for member in model.members]


def _require_weights(model: ModelFolder) -> None:
    for file in _weight_files(model):
        # A description from elsewhere must not make hvit read outside its folder.
        if Path(file).name != file:
            raise ModelError(
                "a weight file must lie in the model's folder", where=model.path, found=repr(file)
            )
        if not (model.path / file).is_file():
            raise ModelError("a weight file of the model is missing", where=model.path / file)
    at_least = _least_bytes(model.aggregator)
    for member in model.members:
        # Before networks of that size are made, which a small file could not fill.
        size = (model.path / member.file).stat().st_size
        if size < at_least:
            raise ModelError(
                "the weights are too few for the sizes that the model states",
                where=model.path / member.file,
                found=f"{size} bytes",
                wanted=f"at least {at_least}",
            )
        found = sha256_of(model.path / member.file)
        if found != member.sha256:
            raise ModelError(
                "a weight file is not the one the model was written with",
                where=model.path / member.file,
                found=found[:12],
                wanted=member.sha256[:12],
            )


def _least_bytes(sizes: AggregatorSettings) -> int:
    """What the matrices of an aggregator take at the least, two bytes a number.

    A block of a Transformer has 4 matrices of width × width for attention and 8 (region level) or
    2 (slide level) for what follows.
    """
    region = (
        sizes.patch_dim + 12 * sizes.region_depth * sizes.region_dim + sizes.position_side**2
    ) * sizes.region_dim
    region += sizes.registers * sizes.region_dim
    slide = (sizes.region_dim + (6 * sizes.slide_depth + 3) * sizes.slide_dim) * sizes.slide_dim
    return 2 * (region + slide + sizes.outputs)
