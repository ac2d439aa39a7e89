"""The patch encoder of a run: named by the user, or the model's own."""

from __future__ import annotations

import json
import logging

from hvit_cli.errors import ModelError, UsageError
from hvit_cli.models.encoders import NORMALISATIONS, PatchEncoder
from hvit_cli.models.named_encoder import load_encoder
from hvit_cli.settings import Attention, EmbeddingSettings, MaskLevel, Normalisation
from hvit_cli.steps.choose import ChosenModel
from hvit_cli.steps.embed import Embedder

_LOG = logging.getLogger(__name__)


def named_embedder(embedding: EmbeddingSettings) -> Embedder:
    """The encoder that `--encoder` names.

    Raises:
        UsageError: None is named.
        ModelError: It cannot be loaded.
    """
    if embedding.encoder is None:
        raise UsageError(
            "which patch encoder is to be used?",
            where="--encoder",
            wanted="a name from `hvit encoders`, a file or a folder; or --model",
        )
    encoder = load_encoder(
        embedding.encoder,
        normalisation=embedding.normalisation,
        encoder_input=embedding.encoder_input,
        device=embedding.device,
        precision=embedding.precision,
        batch_size=embedding.batch_size,
    )
    return _embedder(encoder, embedding.attention, embedding.mask_level or "region", embedding)


def model_embedder(model: ChosenModel, embedding: EmbeddingSettings) -> Embedder:
    """The encoder that a model was trained with, with the normalisation it was used with.

    Raises:
        ModelError: It cannot be loaded, or it is not the one the model was trained on.
        UsageError: `--normalisation` contradicts the model.
    """
    identity = model.folder.encoder
    if not identity.file and not identity.source:
        raise ModelError(
            "the model does not hold its patch encoder: it grades features, and no slides",
            where=model.folder.path,
            found=f"the name {identity.name} alone",
            hint="the command that made the model, with --encoder and its weights",
        )
    encoder = load_encoder(
        model.folder.path / identity.file if identity.file else identity.source,
        normalisation=embedding.normalisation or _named_normalisation(identity.normalisation),
        encoder_input=identity.encoder_input,
        device=embedding.device,
        precision=embedding.precision,
        batch_size=embedding.batch_size,
        architecture=identity.architecture or None,
    )
    if encoder.weights_hash != identity.weights_hash:
        raise ModelError(
            f"the patch encoder is not the one that {model.folder.name} was trained with",
            where=identity.file or identity.source,
            found=f"weights {encoder.weights_hash[:12]}",
            wanted=identity.weights_hash[:12],
        )
    if encoder.normalisation_text != identity.normalisation:
        raise UsageError(
            f"the normalisation contradicts the model {model.folder.name}",
            where="--normalisation",
            found=encoder.normalisation_text,
            wanted=identity.normalisation,
        )
    return _embedder(encoder, model.attention, model.folder.mask_level, embedding)


def _embedder(
    encoder: PatchEncoder, attention: Attention, level: MaskLevel, embedding: EmbeddingSettings
) -> Embedder:
    for remark in encoder.notes:
        _LOG.info("%s: %s", encoder.spec.name, remark)
    _LOG.info(
        "%s runs on %s in %s, %d patches a step",
        encoder.spec.name,
        encoder.device,
        encoder.precision,
        encoder.step,
    )
    return Embedder(encoder, attention, embedding.batch_size, level)


def _named_normalisation(text: str) -> Normalisation | None:
    """The choice of `--normalisation` that a stored text means; None for the encoder's own."""
    for name, (mean, std) in NORMALISATIONS.items():
        if json.dumps({"mean": list(mean), "std": list(std)}) == text:
            return name
    return None
