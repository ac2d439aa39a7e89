"""The demonstration model that comes with hvit."""

from __future__ import annotations

from pathlib import Path


def demo_model_folder() -> Path:
    """The folder of the bundled model: one patch encoder, a masked and a plain aggregator.

    It was trained on drawings and means nothing on real tissue.
    """
    return Path(__file__).parent / "model"
