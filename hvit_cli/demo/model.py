"""Where the bundled demonstration model lies. Its numbers mean nothing on real tissue."""

from __future__ import annotations

from pathlib import Path

DEMO_NOTE = "demonstration model, trained on drawings, not for diagnosis"


def demo_model_folder() -> Path:
    """The model folder inside the package: `model.json`, the encoder, masked and plain."""
    return Path(__file__).resolve().parent / "model"
