"""The three levels of the model: patch encoder, region Transformer, slide Transformer."""

# Importing torch before OpenSlide has been reported to change what OpenSlide detects.
import openslide  # noqa: F401
