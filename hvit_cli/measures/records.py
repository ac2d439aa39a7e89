"""What was measured of one map of one slide, and which map it was."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hvit_cli.settings import Attention

Glass = Literal["seen", "hidden"]
Weights = Literal["trained", "fresh"]


@dataclass(frozen=True, kw_only=True)
class MapRow:
    """One row of the table: whose map, made how.

    Attributes:
        model: Name of the model.
        trained: Attention that its members were trained with.
        run: Attention that they ran with.
        glass: `hidden` where a plain map's glass was taken away afterwards and the rest was
            made to add up again.
        weights: `fresh` for the same networks with weights drawn anew.
        map: The kind of map, or the name of a floor.
    """

    model: str
    trained: Attention
    run: Attention
    glass: Glass = "seen"
    weights: Weights = "trained"
    map: str


@dataclass(frozen=True, kw_only=True)
class MapMeasures:
    """What was measured of one map of one slide; None where it is not defined.

    Attributes:
        slide_id: The slide.
        row: Which map.
        patches: Patches that the map shows.
        tissue_patches: Those with tissue.
        positives: Judged patches with tumour.
        negatives: Judged patches of other tissue.
        auroc: Localisation on tissue.
        average_precision: Localisation on tissue; a map that knows nothing has the prevalence.
        background_mass: Share of the map on glass ÷ glass's share of the patches.
        gain: Symmetric relevance gain of flipping, in grade points.
        entropy: 1 is uniform, 0 one patch.
        top_share: Share of the largest patch.
        grid_shift: Rank correlation with the map on a grid shifted by half a patch.
        stain: Rank correlation with the map of the slide in another stain.
    """

    slide_id: str
    row: MapRow
    patches: int
    tissue_patches: int
    positives: int = 0
    negatives: int = 0
    auroc: float | None = None
    average_precision: float | None = None
    background_mass: float | None = None
    gain: float | None = None
    entropy: float | None = None
    top_share: float | None = None
    grid_shift: float | None = None
    stain: float | None = None


MEASURES = (
    "auroc",
    "average_precision",
    "background_mass",
    "gain",
    "entropy",
    "top_share",
    "grid_shift",
    "stain",
)
"""Fields of `MapMeasures` that are averaged over slides."""
