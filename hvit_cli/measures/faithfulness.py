"""Whether patches that a map holds high are those that hold the score up.

Patches are hidden in steps, highest first and lowest first, and the model scores what is left.
The order is fixed by the map beforehand. A faithful map's score falls early when its highest
patches go first and late when its lowest do; the area between the two curves is the symmetric
relevance gain. Source: patch flipping (Samek et al., 2017), both orders and their area (Blücher,
Vielhaben and Strodthoff, 2024).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hvit_cli.attribution.rescoring import Absence, Rescorer
from hvit_cli.measures.comparable import MapValues
from hvit_cli.models.aggregator import Aggregator
from hvit_cli.settings import Attention, TaskSettings
from hvit_cli.storage.features import SlideFeatures
from hvit_cli.training.bags import bag_of

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]
ScoresWithout = Callable[[Sequence[Rows]], Floats]


@dataclass(frozen=True, kw_only=True)
class Flipping:
    """Scores while patches go.

    Attributes:
        share: (k,) shares of the shown patches that are hidden, 0 to 1.
        highest_first: (k,) unrounded scores.
        lowest_first: (k,) unrounded scores.
    """

    share: Floats
    highest_first: Floats
    lowest_first: Floats

    @property
    def gain(self) -> float:
        """Symmetric relevance gain: the area between the curves, in grade points."""
        return float(np.trapezoid(self.lowest_first - self.highest_first, self.share))


class Flipper:
    """Scores a slide with patches hidden, by the mean of a model's members.

    Args:
        aggregators: At least one, in evaluation mode.
        features: The slide's features.
        attention: Which patches the model sees.
        task: What its outputs mean.
    """

    def __init__(
        self,
        aggregators: Sequence[Aggregator],
        features: SlideFeatures,
        attention: Attention,
        task: TaskSettings,
    ) -> None:
        bag = bag_of(features, attention)
        self._rescorers = [Rescorer(one, bag, task) for one in aggregators]
        self._place = np.full(len(features.features), -1, np.intp)
        visible = features.visible(attention)
        self._place[visible] = np.arange(int(visible.sum()))

    def scores_without(self, hidden: Sequence[Rows]) -> Floats:
        """(n,) scores, each without these rows of the feature file."""
        absences = [Absence(rows=self._place[rows]) for rows in hidden]
        scores = [one.scores_without(absences) for one in self._rescorers]
        return np.asarray(np.mean(scores, axis=0), np.float64)

    def flip(self, values: MapValues, steps: int, random: np.random.Generator) -> Flipping | None:
        """Hides the patches that the map shows; those without a colour stay.

        Args:
            values: The map.
            steps: Equal steps from none to all.
            random: Breaks ties, so that a constant map is a random order.

        Returns:
            None where the map shows no patch.
        """
        rows = np.flatnonzero(values.shown)
        if not len(rows):
            return None
        tie = random.permutation(len(rows))
        falling = rows[np.lexsort((tie, -values.value[rows]))]
        share = np.arange(steps + 1) / steps
        counts = np.rint(share * len(rows)).astype(np.intp)
        inner = counts[1:-1]
        hidden = [falling[:n] for n in inner] + [falling[len(rows) - n :] for n in inner]
        scores = self.scores_without([falling[:0], falling, *hidden])
        whole, none, between = scores[0], scores[1], scores[2:]
        return Flipping(
            share=share,
            highest_first=np.array([whole, *between[: len(inner)], none]),
            lowest_first=np.array([whole, *between[len(inner) :], none]),
        )
