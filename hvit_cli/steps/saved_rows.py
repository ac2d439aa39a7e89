"""What is embedded of a large slide, on disk every few seconds, so that a killed run goes on."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hvit_cli.models.encoders import PatchEncoder
from hvit_cli.storage.partial import PartialFeatures
from hvit_cli.storage.recipe import Recipe

SAVE_EVERY_S = 20.0
"""Work that a kill may cost. A slide that takes less writes nothing but its feature file."""

Rows = npt.NDArray[np.float16]


class SavedRows:
    """The rows of one slide on their way into its feature file.

    Args:
        features: The feature file.
        recipe: What decides its content.
        wanted: (M, K) which patches it will hold.
        encoder: What embeds them. Features of a GPU and of a processor differ in the last bit,
            so that one does not go on where the other stopped.
    """

    def __init__(
        self, features: Path, recipe: Recipe, wanted: npt.NDArray[np.bool_], encoder: PatchEncoder
    ) -> None:
        key = {
            "recipe": recipe,
            "wanted": [list(wanted.shape), hashlib.sha256(wanted.tobytes()).hexdigest()],
            "device": encoder.device.type,
        }
        self._partial = PartialFeatures(features, key, encoder.spec.width)

    def read(self) -> Rows:
        """(n, D) the first n rows, embedded by a run that was killed."""
        return self._partial.rows()

    def saving(self, parts: Iterable[Rows]) -> Iterator[Rows]:
        """Passes on the rows that follow, and saves them every `SAVE_EVERY_S` seconds."""
        unsaved: list[Rows] = []
        saved = time.monotonic()
        for part in parts:
            unsaved.append(part)
            if time.monotonic() - saved >= SAVE_EVERY_S:
                self._partial.append(np.concatenate(unsaved))
                unsaved, saved = [], time.monotonic()
            yield part

    def remove(self) -> None:
        """Removes what was saved, for the feature file is whole."""
        self._partial.remove()
