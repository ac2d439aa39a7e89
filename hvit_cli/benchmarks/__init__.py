"""How fast each part of hvit is on this machine, and how near to what the machine can do."""

# Before anything that may import torch: see `hvit_cli.slides.reader`.
import openslide  # noqa: F401 - imported for that effect
