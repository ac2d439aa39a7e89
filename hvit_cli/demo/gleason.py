"""From the areas of the patterns on a slide to its Gleason score and ISUP grade.

The rule for biopsies (ISUP 2014/2019): the primary pattern is the one with the largest area,
the secondary the highest of the others that holds at least 5 % of the tumour; a tumour with
one pattern counts it twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum

from hvit_cli.errors import LabelError
from hvit_cli.training.gleason import Gleason

MIN_SECONDARY_SHARE = 0.05


class Pattern(IntEnum):
    """What a pixel of the truth belongs to; the codes of PANDA's Radboud masks."""

    GLASS = 0
    BENIGN = 1
    GLEASON_3 = 3
    GLEASON_4 = 4
    GLEASON_5 = 5


TISSUE_PATTERNS = (Pattern.BENIGN, Pattern.GLEASON_3, Pattern.GLEASON_4, Pattern.GLEASON_5)
TUMOUR_PATTERNS = TISSUE_PATTERNS[1:]


def gleason_of_areas(area: Mapping[int, float]) -> Gleason | None:
    """The Gleason score that these areas make, or None without tumour.

    Args:
        area: Area by pattern, in any one unit; other keys than 3, 4 and 5 are ignored.

    Raises:
        LabelError: An area is negative.
    """
    tumour = {int(p): float(area.get(p, 0.0)) for p in TUMOUR_PATTERNS}
    if min(tumour.values()) < 0:
        raise LabelError("a negative area", found=tumour)
    total = sum(tumour.values())
    if total == 0:
        return None
    # Of two equal areas the higher grade is primary.
    primary = max(tumour, key=lambda pattern: (tumour[pattern], pattern))
    others = [
        pattern
        for pattern in tumour
        if pattern != primary and tumour[pattern] >= MIN_SECONDARY_SHARE * total
    ]
    return Gleason(primary=primary, secondary=max(others, default=primary))


def isup_of_areas(area: Mapping[int, float]) -> int:
    """The ISUP grade that these areas make; 0 without tumour."""
    gleason = gleason_of_areas(area)
    return 0 if gleason is None else gleason.isup
