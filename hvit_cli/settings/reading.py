"""At which spacing slides are read."""

from __future__ import annotations

from dataclasses import dataclass

from hvit_cli.settings.checks import is_positive, require


@dataclass(frozen=True, kw_only=True)
class ReadingSettings:
    """At which spacing pixels are read, and where the slide's own spacing comes from."""

    spacing_um: float = 0.5
    """Target spacing in µm per pixel."""

    spacing_tolerance: float = 0.05
    """Largest relative difference at which a level's pixels are used unchanged."""

    spacing_override: float | None = None
    """Spacing of level 0 in µm per pixel, replacing what the files say."""

    spacing_from_objective: bool = False
    """Derive a missing spacing from the objective power (10 / power µm per pixel)."""

    def __post_init__(self) -> None:
        require(is_positive(self.spacing_um), "spacing_um", self.spacing_um, "above 0")
        require(
            0 <= self.spacing_tolerance < 1,
            "spacing_tolerance",
            self.spacing_tolerance,
            "from 0 to below 1",
        )
