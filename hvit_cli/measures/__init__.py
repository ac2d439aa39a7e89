"""What can be measured of maps: against truth, against the model itself, against other maps."""

# Before anything that imports torch, as in `training`: OpenSlide must come first.
import openslide  # noqa: F401 - imported for that effect
