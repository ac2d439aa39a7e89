"""Whether this machine, these libraries, this folder and these models can do the work."""

# Importing torch before OpenSlide has been reported to change what OpenSlide detects.
import openslide  # noqa: F401
