"""The tissue patches of a run's slides: where each lies, and how its slide is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hvit_cli.slides.geometry import ReadingPlan
from hvit_cli.storage.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class PoolSlide:
    """One slide of the pool.

    Attributes:
        slide_id: The slide's name.
        path: Its file or folder.
        manifest_spacing_um: µm per level-0 pixel, when a manifest states it.
        plan: How pixels at the target spacing are made.
        origin_level0: (n, 2) top-left corners (x, y) of its tissue patches, not rounded.
        recipe: What decided which patches these are.
    """

    slide_id: str
    path: Path
    manifest_spacing_um: float | None
    plan: ReadingPlan
    origin_level0: npt.NDArray[np.float64]
    recipe: Recipe


@dataclass(frozen=True)
class PatchPool:
    """The tissue patches of several slides, numbered slide after slide.

    A patch takes the 16 bytes of its corner, so that ten million take 160 MB.

    Attributes:
        slides: Slides with at least one tissue patch.
        patch_px: Side of the patches.
    """

    slides: Sequence[PoolSlide]
    patch_px: int

    def __len__(self) -> int:
        return int(self.first[-1])

    @cached_property
    def first(self) -> npt.NDArray[np.int64]:
        """(S + 1,) number of each slide's first patch, and how many there are."""
        counts = [len(slide.origin_level0) for slide in self.slides]
        return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])

    def locate(self, patch: int) -> tuple[int, int]:
        """The slide of a patch, and the patch's number in it."""
        slide = int(np.searchsorted(self.first, patch, side="right")) - 1
        return slide, patch - int(self.first[slide])
