"""Which patch encoder a model belongs to, written down so that `predict` finds it again.

Features carry their encoder's name and the hash of its weights. A name that timm or the hub
knows is enough to find it again. Weights of a local file are copied into the model folder,
so that the folder stands alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from hvit_cli.errors import ModelError
from hvit_cli.models.encoders import PatchEncoder
from hvit_cli.models.local_encoder import WEIGHTS_FILE
from hvit_cli.models.named_encoder import load_encoder
from hvit_cli.settings import EncoderInput
from hvit_cli.storage.feature_headers import FeatureHeader
from hvit_cli.storage.models import MODEL_FILE, EncoderIdentity, ModelFolder, read_model
from hvit_cli.storage.weights import write_weights


@dataclass(frozen=True, kw_only=True)
class EncoderRecord:
    """The encoder of some features, and where its weights are to be copied from.

    Attributes:
        identity: What the model's description says of it.
        origin: What `--encoder` gave, where its weights are to be copied; None copies nothing.
        notes: What the user should know.
    """

    identity: EncoderIdentity
    origin: Path | None = None
    notes: tuple[str, ...] = ()


def record_encoder(header: FeatureHeader, encoder: str | None, *, copy: bool) -> EncoderRecord:
    """The record of the encoder that made some features.

    Args:
        header: Header of the features.
        encoder: Where the encoder is found: a name, a weight file, an encoder folder or a
            model folder. None takes the name that the features carry.
        copy: Copy weights of a local file into the model folder.

    Raises:
        ModelError: It is not the encoder of the features.
    """
    identity = EncoderIdentity(
        name=header.encoder,
        source="",
        file="",
        weights_hash=header.encoder_hash,
        normalisation=header.normalisation,
        precision=header.precision,
        encoder_input=_encoder_input(header),
    )
    if encoder is None:
        return _by_name(identity, header)
    path = Path(encoder)
    if not path.exists():
        if encoder != header.encoder:
            raise ModelError(
                "these features are another encoder's",
                where="--encoder",
                found=encoder,
                wanted=header.encoder,
            )
        return EncoderRecord(identity=replace(identity, source=encoder))
    loaded = _load(path)
    _require_hash(loaded, identity, path)
    if copy and loaded.architecture:
        held = replace(identity, file=WEIGHTS_FILE, architecture=loaded.architecture)
        return EncoderRecord(identity=held, origin=path)
    source = loaded.source or str(_weights_of(path).resolve())
    return EncoderRecord(
        identity=replace(identity, source=source, architecture=loaded.architecture),
        notes=() if loaded.source else (f"the model will look for its patch encoder at {source}",),
    )


def copy_encoder(record: EncoderRecord, folder: Path) -> None:
    """Writes the encoder's weights into the model folder, where the record says so.

    Raises:
        ModelError: They have changed since the record was made.
    """
    if record.origin is None:
        return
    encoder = _load(record.origin)
    _require_hash(encoder, record.identity, record.origin)
    write_weights(folder / record.identity.file, encoder.network.state_dict())


def _by_name(identity: EncoderIdentity, header: FeatureHeader) -> EncoderRecord:
    embedded = header.recipe.get("settings", {}).get("embed", {})
    if embedded.get("input", {}).get("positions") == "timm":
        return EncoderRecord(identity=replace(identity, source=header.encoder))
    return EncoderRecord(
        identity=identity,
        notes=(
            f"the patch encoder {header.encoder} is not known by a public name: the model will "
            "grade features, and slides only after training with --encoder FILE",
        ),
    )


def _load(path: Path) -> PatchEncoder:
    model = _model_of(path)
    if model is None:
        return load_encoder(path, precision="float32")
    if not model.encoder.file:
        return load_encoder(model.encoder.source, precision="float32")
    return load_encoder(
        _weights_of(path), precision="float32", architecture=model.encoder.architecture or None
    )


def _model_of(path: Path) -> ModelFolder | None:
    """The model whose encoder is meant, where the path is that of a model."""
    if path.name == MODEL_FILE or (path / MODEL_FILE).is_file():
        return read_model(path)
    return None


def _weights_of(path: Path) -> Path:
    """The encoder's own file or folder: inside a model folder, its weight file."""
    model = _model_of(path)
    return path if model is None else model.path / model.encoder.file


def _require_hash(encoder: PatchEncoder, identity: EncoderIdentity, path: Path) -> None:
    if encoder.weights_hash != identity.weights_hash:
        raise ModelError(
            "these weights are not those that made the features",
            where=path,
            found=encoder.weights_hash[:12],
            wanted=f"{identity.weights_hash[:12]} ({identity.name})",
        )


def _encoder_input(header: FeatureHeader) -> EncoderInput:
    """How patches were fitted to the encoder; features that hvit did not make do not say."""
    embedded = header.recipe.get("settings", {}).get("embed", {})
    fitted: EncoderInput = embedded.get("input", {}).get("input", "auto")
    return fitted
