"""Self-supervised pretraining (DINO) of the patch encoder and of the region Transformer."""

# Importing torch before OpenSlide has been reported to change what OpenSlide detects.
import openslide  # noqa: F401
