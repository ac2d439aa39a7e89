"""What lies on the glass instead, when models are stressed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from hvit_cli.settings.checks import require

GlassKind = Literal["white", "other", "ink", "dust", "edge"]


@dataclass(frozen=True, kw_only=True)
class StressSettings:
    """What lies on the glass instead, and where."""

    kinds: tuple[GlassKind, ...] = get_args(GlassKind)
    """What the glass becomes: white, other (another slide's), ink, dust, edge (of a coverslip)."""

    edges: bool = False
    """Also change the glass inside patches that hold tissue, which no attention hides."""

    draws: int = 2000
    """Draws of the bootstrap over slides, 0 for no intervals."""

    seed: int = 0
    """Seed of everything drawn at random."""

    def __post_init__(self) -> None:
        unknown = [kind for kind in self.kinds if kind not in get_args(GlassKind)]
        require(
            bool(self.kinds) and not unknown,
            "glass",
            ", ".join(unknown),
            ", ".join(get_args(GlassKind)),
        )
        require(self.draws >= 0, "draws", self.draws, "0 or more")
