"""From a model and a slide's features to a number for each patch, token or region."""

# Importing torch before OpenSlide has been reported to change what OpenSlide detects.
import openslide  # noqa: F401
