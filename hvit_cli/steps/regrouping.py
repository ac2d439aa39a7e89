"""What decides how features of other programs become ours, and what is known of their slides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hvit_cli.settings import ReadingSettings, TilingSettings, as_recipe
from hvit_cli.slides.geometry import SlideGeometry
from hvit_cli.storage.recipe import Recipe, recipe_of

# Raised when the same settings begin to give other files.
METHOD = 1


@dataclass(frozen=True, kw_only=True)
class Maker:
    """Who made the features, as far as it is known.

    Attributes:
        name: The encoder's name.
        folder_name: The same, fit to be part of a folder's name.
        weights_hash: SHA-256 over its weights, or `unverified:<name>`.
        normalisation: JSON text of the input's mean and standard deviation, or `"unknown"`.
    """

    name: str
    folder_name: str
    weights_hash: str
    normalisation: str


@dataclass(frozen=True, kw_only=True)
class Regrouping:
    """How foreign features become ours; the same for a whole run.

    Attributes:
        layout: trident, clam, slide2vec or original.
        maker: The patch encoder.
        reading: Spacing of the patches, and tolerance.
        tiling: Region, patch, grid, least tissue.
        patch_level0: Side of a patch in level-0 pixels, where the files do not say.
    """

    layout: str
    maker: Maker
    reading: ReadingSettings
    tiling: TilingSettings
    patch_level0: int | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """The settings part of the recipe."""
        return {
            "convert": {"method": METHOD, "from": self.layout, "patch_level0": self.patch_level0},
            "reading": as_recipe(self.reading),
            "tiling": as_recipe(self.tiling),
            "embed": {
                "encoder": self.maker.name,
                "weights": self.maker.weights_hash,
                "normalisation": self.maker.normalisation,
            },
        }

    def recipe(self, inputs: dict[str, Any], known: Known) -> Recipe:
        """What decides one slide's file; says of every assumption that it is one."""
        return recipe_of(settings=self.settings, inputs={**inputs, "known": known.as_inputs()})


@dataclass(frozen=True, kw_only=True)
class Known:
    """What is known of the slide itself.

    Attributes:
        spacing_um_level0: Micrometres per level-0 pixel; None where nobody says.
        spacing_from: slide, option, file, or `assumed: …` in words.
        size_level0: (width, height); None where nobody says.
        geometry: The slide's pyramid, where the slide was opened.
    """

    spacing_um_level0: float | None = None
    spacing_from: str = "nothing"
    size_level0: tuple[int, int] | None = None
    geometry: SlideGeometry | None = None

    def as_inputs(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "spacing_um_level0": self.spacing_um_level0,
            "spacing_from": self.spacing_from,
            "size_level0": self.size_level0,
        }
