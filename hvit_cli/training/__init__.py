"""Training of the aggregator and the numbers that judge it."""

# Importing torch before OpenSlide has been reported to change what OpenSlide detects.
import openslide  # noqa: F401
