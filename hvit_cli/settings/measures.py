"""What is measured of maps, and what the values of a pathology mask mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from hvit_cli.errors import SettingsError
from hvit_cli.settings.checks import require
from hvit_cli.settings.heatmap import MapKind

LabelPreset = Literal["panda-radboud", "panda-karolinska", "hvit-demo"]


@dataclass(frozen=True, kw_only=True)
class LabelScheme:
    """What the values of a pathology mask mean."""

    tumour_values: tuple[int, ...]
    """Values that mean tumour."""

    other_values: tuple[int, ...]
    """Values that mean tissue without tumour."""

    ignore_values: tuple[int, ...] = (0,)
    """Values that say nothing: glass, unknown."""

    def __post_init__(self) -> None:
        require(len(self.tumour_values) > 0, "tumour_values", self.tumour_values, "some value")
        require(len(self.other_values) > 0, "other_values", self.other_values, "some value")
        every = self.tumour_values + self.other_values + self.ignore_values
        twice = sorted({value for value in every if every.count(value) > 1})
        if twice:
            raise SettingsError(
                "a value of the mask cannot mean two things",
                where="--tumour-values, --other-values, --ignore-values",
                found=", ".join(map(str, twice)),
            )

    @property
    def known(self) -> frozenset[int]:
        """Every value that has a meaning."""
        return frozenset(self.tumour_values + self.other_values + self.ignore_values)


LABEL_PRESETS: dict[LabelPreset, LabelScheme] = {
    # 0 glass or unknown, 1 stroma, 2 benign epithelium, 3 to 5 Gleason patterns.
    "panda-radboud": LabelScheme(tumour_values=(3, 4, 5), other_values=(1, 2)),
    # 0 glass or unknown, 1 benign, 2 cancer.
    "panda-karolinska": LabelScheme(tumour_values=(2,), other_values=(1,)),
    # 0 glass, 1 benign, 3 to 5 Gleason patterns.
    "hvit-demo": LabelScheme(tumour_values=(3, 4, 5), other_values=(1,)),
}
"""Meanings by name."""

MEASURED_MAPS: tuple[MapKind, ...] = (
    "attention",
    "rollout",
    "gradient",
    "contribution",
    "single",
)


@dataclass(frozen=True, kw_only=True)
class MeasureSettings:
    """What is measured of maps, and how finely."""

    maps: tuple[MapKind, ...] = MEASURED_MAPS
    """Maps that are measured: attention, rollout, gradient, contribution, single, integrated."""

    steps: int = 10
    """Steps in which patches are hidden, from none to all; 0 leaves faithfulness out."""

    stability_slides: int = 0
    """Slides embedded anew on a grid shifted by half a patch, and with another stain."""

    floors: bool = True
    """Also measure what knows nothing: random, uniform, tissue, haematoxylin, fresh weights."""

    draws: int = 2000
    """Draws of the bootstrap over slides, 0 for no intervals."""

    seed: int = 0
    """Seed of everything drawn at random."""

    def __post_init__(self) -> None:
        unknown = [kind for kind in self.maps if kind not in get_args(MapKind)]
        require(bool(self.maps) and not unknown, "map", ", ".join(unknown), "a kind of map")
        require(self.steps == 0 or self.steps >= 2, "steps", self.steps, "0, or 2 or more")
        require(self.stability_slides >= 0, "stability_slides", self.stability_slides, "0 or more")
        require(self.draws >= 0, "draws", self.draws, "0 or more")
