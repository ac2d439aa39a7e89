"""`hvit encoders`: the patch encoders whose facts are known."""

from __future__ import annotations

from hvit_cli.models.encoder_specs import KNOWN_ENCODERS, EncoderSpec


def list_encoders() -> tuple[EncoderSpec, ...]:
    """Known encoders, general ones first; loads none of them."""
    return KNOWN_ENCODERS
