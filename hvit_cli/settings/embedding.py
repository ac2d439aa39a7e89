"""Which patch encoder runs, and how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hvit_cli.settings.checks import require
from hvit_cli.settings.kinds import Attention, MaskLevel, Precision

Normalisation = Literal["imagenet", "half", "none"]
EncoderInput = Literal["auto", "native", "resize"]


@dataclass(frozen=True, kw_only=True)
class EmbeddingSettings:
    """Which patch encoder runs, on what and how."""

    encoder: str | None = None
    """A timm name, hf-hub:…, a file, a folder, or nothing to take the model's own."""

    attention: Attention = "masked"
    """Embed only patches with tissue (masked) or every patch (plain)."""

    mask_level: MaskLevel | None = None
    """Mask patches without tissue (region), tokens inside patches (patch, for --plain), or both."""

    normalisation: Normalisation | None = None
    """Mean and standard deviation of the input; nothing takes the encoder's own."""

    encoder_input: EncoderInput = "auto"
    """Give the encoder patches as they are (native), resized to its training size, or auto."""

    precision: Precision = "auto"
    """Number format of the encoder's arithmetic."""

    device: str = "auto"
    """Where the networks run: auto, cpu, cuda, cuda:1, mps."""

    batch_size: int = 32
    """Patches per step of the encoder."""

    def __post_init__(self) -> None:
        require(
            isinstance(self.batch_size, int) and self.batch_size >= 1,
            "batch_size",
            self.batch_size,
            "1 or more",
        )
