"""Which patch encoder a model belongs to, written down so that `predict` finds it again."""

from __future__ import annotations

from hvit_cli.storage.feature_headers import FeatureHeader
from hvit_cli.storage.models import EncoderIdentity


def record_encoder(
    header: FeatureHeader, encoder: str | None
) -> tuple[EncoderIdentity, tuple[str, ...]]:
    """The identity of the encoder that made some features.

    Args:
        header: Header of the features.
        encoder: Where the encoder is found; None takes the name that the features carry.

    """
    identity = EncoderIdentity(
        name=header.encoder,
        source=encoder or header.encoder,
        file="",
        weights_hash=header.encoder_hash,
        normalisation=header.normalisation,
        precision=header.precision,
    )
    return identity, ()
