"""Weights of the original implementation into a model folder of hvit's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hvit_cli.errors import ModelError, UsageError
from hvit_cli.models.aggregator import Aggregator
from hvit_cli.models.checkpoints import read_state_dict
from hvit_cli.models.encoders import PatchEncoder
from hvit_cli.models.loading import infer_aggregator_settings, load_aggregator_weights
from hvit_cli.models.local_encoder import WEIGHTS_FILE
from hvit_cli.settings import AggregatorSettings, Attention, ReadingSettings, TilingSettings
from hvit_cli.steps.regrouping import Maker
from hvit_cli.storage.models import (
    MODEL_FILE,
    EncoderIdentity,
    ModelFolder,
    ModelMember,
    sha256_of,
    write_model,
)
from hvit_cli.storage.weights import write_weights


@dataclass(frozen=True, kw_only=True)
class ConvertedModel:
    """A model folder that was written, and what must be said about it.

    Attributes:
        model: The model.
        notes: What the user should know, a sentence each.
    """

    model: ModelFolder
    notes: tuple[str, ...]


def convert_model(
    files: Sequence[Path],
    out: Path,
    *,
    attention: Attention,
    reading: ReadingSettings,
    tiling: TilingSettings,
    maker: Maker,
    encoder: PatchEncoder | None,
    overwrite: bool,
) -> ConvertedModel:
    """Writes state dicts of aggregators as one model whose members are averaged.

    Args:
        files: One state dict each; the first is fold 0.
        out: The model folder.
        attention: The attention they were trained with; weights do not tell.
        reading: Spacing they were trained at.
        tiling: Region and patch.
        maker: Their patch encoder, as features name it.
        encoder: The encoder itself, to be copied into the folder; None leaves a model that
            grades features alone.
        overwrite: Replace a model that lies there.

    Raises:
        UsageError: A model lies there already, or two files are the same.
        CheckpointError: A file cannot be read or does not fit.
        ModelError: The files are no ensemble, do not regress one number, or are of another
            width than the encoder.
    """
    if (out / MODEL_FILE).is_file() and not overwrite:
        raise UsageError(
            "a model lies there already", where=out, hint="--overwrite, or another folder with -o"
        )
    aggregators, notes = _load(files, tiling)
    sizes = aggregators[0].settings
    if encoder is not None and encoder.spec.width != sizes.patch_dim:
        raise ModelError(
            "the patch encoder does not belong to these aggregators",
            where=maker.name,
            found=f"features of width {encoder.spec.width}",
            wanted=f"width {sizes.patch_dim}",
        )
    members = []
    for fold, aggregator in enumerate(aggregators):
        name = f"{attention}-fold{fold}.safetensors"
        write_weights(out / name, aggregator.state_dict())
        member = ModelMember(
            file=name, sha256=sha256_of(out / name), attention=attention, fold=fold
        )
        members.append(member)
    model = ModelFolder(
        path=out,
        name=out.resolve().name,
        note="converted from weights of the original implementation",
        watermark="",
        licence="",
        encoder=_identity(maker, encoder, out),
        reading=replace(reading, spacing_override=None),
        tiling=tiling,
        aggregator=sizes,
        members=tuple(members),
        training={"converted_from": {file.name: sha256_of(file) for file in files}},
    )
    write_model(model)
    if encoder is None:
        notes += (
            "no --encoder was given: the model grades features that were converted with "
            f"--encoder-name {maker.name}, and no slides",
        )
    return ConvertedModel(model=model, notes=notes)


def _load(
    files: Sequence[Path], tiling: TilingSettings
) -> tuple[list[Aggregator], tuple[str, ...]]:
    hashes = [sha256_of(file) if file.is_file() else str(file) for file in files]
    if len(set(hashes)) < len(hashes):
        raise UsageError(
            "two of the weight files are the same", found=", ".join(str(file) for file in files)
        )
    aggregators: list[Aggregator] = []
    notes: dict[str, None] = {}
    for file in files:
        state = read_state_dict(file)
        sizes = infer_aggregator_settings(
            state, where=file, region_px=tiling.region_px, patch_px=tiling.patch_px
        )
        _require_fit(sizes, aggregators[0].settings if aggregators else sizes, file)
        aggregator = Aggregator(sizes)
        notes |= dict.fromkeys(load_aggregator_weights(aggregator, state, where=file))
        aggregators.append(aggregator.float().eval())
    return aggregators, tuple(notes)


def _require_fit(sizes: AggregatorSettings, first: AggregatorSettings, file: Path) -> None:
    if sizes.outputs != 1:
        raise ModelError(
            "a grade comes from one regressed number",
            where=file,
            found=f"a classifier of {sizes.outputs} outputs",
            wanted="1",
        )
    if sizes != first:
        differing = [k for k in vars(sizes) if getattr(sizes, k) != getattr(first, k)]
        raise ModelError(
            "the aggregators of one model must have the same sizes",
            where=file,
            found=", ".join(f"{k} {getattr(sizes, k)}" for k in differing),
            wanted=", ".join(f"{k} {getattr(first, k)}" for k in differing),
        )


def _identity(maker: Maker, encoder: PatchEncoder | None, out: Path) -> EncoderIdentity:
    identity = EncoderIdentity(
        name=maker.name,
        source=encoder.source if encoder is not None else "",
        file="",
        weights_hash=maker.weights_hash,
        normalisation=maker.normalisation,
        precision="unknown",
    )
    if encoder is None or not encoder.architecture:
        return identity
    write_weights(out / WEIGHTS_FILE, encoder.network.state_dict())
    return replace(identity, file=WEIGHTS_FILE, architecture=encoder.architecture)
