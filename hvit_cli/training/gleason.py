"""From a Gleason score to an ISUP grade, the one mapping of the whole package.

ISUP grade groups of 2014: 6 and less is 1, 3+4 is 2, 4+3 is 3, 8 is 4, 9 and 10 are 5 (Epstein
et al. 2016, https://doi.org/10.1097/PAS.0000000000000530). Biopsies are not given patterns
below 3, so nothing else is accepted; no tumour is 0.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from hvit_cli.errors import LabelError

PATTERNS = (3, 4, 5)
# How PANDA's two centres write that there is no tumour.
NO_TUMOUR = ("negative", "0+0")
ACCEPTED = "3+3 to 5+5, 0+0 or negative"

_ISUP_OF_SUM = {6: 1, 8: 4, 9: 5, 10: 5}
_SCORE = re.compile(r"([345])\s*\+\s*([345])", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Gleason:
    """Primary and secondary pattern of a tumour.

    Raises:
        LabelError: A pattern is none of 3, 4, 5.
    """

    primary: int
    secondary: int

    def __post_init__(self) -> None:
        for pattern in (self.primary, self.secondary):
            if pattern not in PATTERNS:
                raise LabelError("no such Gleason pattern", found=pattern, wanted="3, 4 or 5")

    def __str__(self) -> str:
        return f"{int(self.primary)}+{int(self.secondary)}"

    @property
    def isup(self) -> int:
        """ISUP grade group, 1 to 5."""
        total = self.primary + self.secondary
        if total == 7:
            return 2 if self.primary == 3 else 3
        return _ISUP_OF_SUM[total]


def isup_of_text(text: str) -> int | None:
    """The ISUP grade of a written Gleason score: `4+3` is 3, `negative` and `0+0` are 0.

    Blanks around the plus and upper case are accepted; everything else, such as a sum (`7`), a
    single pattern or a pattern below 3, is not a Gleason score and gives None.
    """
    text = text.strip().casefold()
    if "".join(text.split()) in NO_TUMOUR:
        return 0
    score = _SCORE.fullmatch(text)
    if score is None:
        return None
    return Gleason(primary=int(score[1]), secondary=int(score[2])).isup
