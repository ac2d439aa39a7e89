"""One slide, one product: the steps that several commands share."""

# Importing torch before OpenSlide has been reported to change what OpenSlide detects.
import openslide  # noqa: F401
