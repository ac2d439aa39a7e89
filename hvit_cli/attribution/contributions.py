"""By how much the score changes when a part of the slide is left out; and what a part says alone.

Source of the idea: perturbation by occlusion (Zeiler and Fergus, 2014). Here it is exact: what is
left out is not painted over, the model is not given it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from hvit_cli.attribution.blank import patch_map
from hvit_cli.attribution.places import pieces, touching
from hvit_cli.attribution.rescoring import Absence, Rescorer
from hvit_cli.heatmaps.maps import PatchMap
from hvit_cli.models.aggregator import Aggregator
from hvit_cli.settings import Attention, TaskSettings, Unit
from hvit_cli.storage.features import SlideFeatures
from hvit_cli.training.bags import bag_of

_LABELS: dict[Unit, str] = {
    "patch": "grade points, patch left out",
    "block": "grade points, block of 3×3 left out",
    "region": "grade points, region left out",
    "component": "grade points, piece of tissue left out",
}


def contributions(
    aggregators: Sequence[Aggregator],
    features: SlideFeatures,
    attention: Attention,
    task: TaskSettings,
    *,
    unit: Unit = "patch",
) -> PatchMap:
    """Score with everything − score without the unit that each patch belongs to.

    Above 0: the unit raises the score. Units:

    - patch: the patch; a region that loses its last one is read from CLS alone;
    - block: the patch and the visible patches that touch it, across regions too;
    - region: the region leaves the slide Transformer as well;
    - component: the connected piece of tissue (patches that touch). Regions all of whose tissue
      it is leave as well. The glass that plain attention saw counts as one more piece.

    Where no region would be left, all stay and are read from CLS alone.

    Args:
        aggregators: At least one, in evaluation mode; their changes are averaged, which is the
            change of their mean score.
        features: The slide's features.
        attention: Which patches the model sees.
        task: What the outputs mean.
        unit: What is left out at a time.

    Raises:
        ModelError: The features do not fit the model.
    """
    absences, unit_of_row = absences_of(features, attention, unit)
    bag = bag_of(features, attention)
    changes = []
    for aggregator in aggregators:
        rescorer = Rescorer(aggregator, bag, task)
        changes.append(rescorer.score() - rescorer.scores_without(absences))
    change = np.mean(changes, axis=0)
    return patch_map(
        features,
        attention,
        change[unit_of_row],
        within="slide",
        quantity="contribution",
        unit_label=_LABELS[unit],
    )


def single_patch(
    aggregators: Sequence[Aggregator],
    features: SlideFeatures,
    attention: Attention,
    task: TaskSettings,
) -> PatchMap:
    """The score of a slide that holds only this patch, in its own place of its own region.

    Args:
        aggregators: At least one, in evaluation mode; their scores are averaged.
        features: The slide's features.
        attention: Which patches the model sees.
        task: What the outputs mean.

    Raises:
        ModelError: The features do not fit the model.
    """
    bag = bag_of(features, attention)
    scores = [Rescorer(one, bag, task).scores_alone() for one in aggregators]
    return patch_map(
        features,
        attention,
        np.mean(scores, axis=0),
        within="slide",
        quantity="single",
        unit_label="score of this patch alone, grade points",
    )


def absences_of(
    features: SlideFeatures, attention: Attention, unit: Unit
) -> tuple[list[Absence], npt.NDArray[np.intp]]:
    """Everything that is left out in turn, and for each visible row (V,) which of them it is."""
    visible = features.visible(attention)
    region = features.region_index[visible]
    rows = np.arange(len(region))
    if unit == "patch":
        return [Absence(rows=rows[i : i + 1]) for i in range(len(rows))], rows
    if unit == "block":
        near = touching(features.coords[visible], features.patch_level0)
        return [Absence(rows=found) for found in near], rows
    if unit == "region":
        shown, unit_of_row = np.unique(region, return_inverse=True)
        everything = features.n_regions == 1
        return [
            Absence(rows=np.flatnonzero(region == m), regions=() if everything else (int(m),))
            for m in shown
        ], unit_of_row
    tissue = features.tissue_fraction[visible] > features.background_below
    piece = pieces(features.coords[visible], features.patch_level0, tissue)
    piece[~tissue] = piece.max(initial=-1) + 1
    found = []
    for number in range(int(piece.max(initial=-1)) + 1):
        out = piece == number
        emptied = np.setdiff1d(region[out & tissue], region[~out & tissue])
        stay = len(emptied) == features.n_regions
        found.append(
            Absence(rows=np.flatnonzero(out), regions=() if stay else tuple(map(int, emptied)))
        )
    return found, piece
