"""A slide's features on grids that are shifted by fractions of a patch, for finer maps."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from hvit_cli.heatmaps.grids import mean_on_scale, shifts
from hvit_cli.heatmaps.maps import PatchMap
from hvit_cli.heatmaps.tokens import TokenMap
from hvit_cli.settings import HeatmapSettings
from hvit_cli.slides.manifest import SlideEntry
from hvit_cli.steps.prepare import SlidePreparer
from hvit_cli.storage.features import SlideFeatures
from hvit_cli.tissue.coverage import count_pixels
from hvit_cli.tissue.mask import TissueMask

_LOG = logging.getLogger(__name__)


def shifted_features(
    preparer: SlidePreparer, entry: SlideEntry, features: SlideFeatures, overlap: int
) -> Iterator[SlideFeatures]:
    """Embeds a slide anew on every shifted grid, or reads what lies in the work folder.

    A grid on which no region holds enough tissue is left out.

    Args:
        preparer: Makes the features of the grid that is not shifted.
        entry: The slide.
        features: Its features on that grid.
        overlap: Grids along each side of a patch.

    Yields:
        The features of the overlap² − 1 other grids.
    """
    others = shifts(overlap)[1:]
    if others:
        _LOG.warning(
            "%s: --overlap %d embeds about %d patches on each of %d shifted grids",
            entry.slide_id,
            overlap,
            len(features.features),
            len(others),
        )
    for number, shift in enumerate(others):
        started = time.monotonic()
        found = replace(preparer, shift_patches=shift, work=preparer.work.shifted(shift)).features(
            entry
        )
        seconds = time.monotonic() - started
        if number == 0 and len(others) > 1 and found.remark != "reused":
            _LOG.warning(
                "%s: the first shifted grid took %.0f s, so all will take about %.0f s",
                entry.slide_id,
                seconds,
                seconds * len(others),
            )
        if found.features is not None:
            yield found.features


Maps = dict[str, PatchMap | TokenMap]


def finer_maps(
    grids: Sequence[Mapping[str, PatchMap | TokenMap]],
    settings: HeatmapSettings,
    mask: TissueMask,
) -> tuple[Maps, Maps]:
    """The means of the raw maps of several grids, as they are and on the scale that is shown.

    Args:
        grids: The raw maps of each grid by attention kind; the first grid is not shifted.
        settings: How many cells a patch is divided into, and the scale.
        mask: The slide's tissue.
    """
    raw: Maps = {}
    scaled: Maps = {}
    for kind in grids[0]:
        maps = [one for grid in grids if isinstance(one := grid[kind], PatchMap)]
        as_it_is = mean_on_scale(maps, settings.overlap, "raw")
        fraction = _tissue_fraction(as_it_is, mask)
        shown = mean_on_scale(maps, settings.overlap, settings.shown_scale)
        raw[kind] = replace(as_it_is, tissue_fraction=fraction, value=np.nan_to_num(as_it_is.value))
        scaled[kind] = replace(shown, tissue_fraction=fraction)
    return raw, scaled


def _tissue_fraction(cells: PatchMap, mask: TissueMask) -> npt.NDArray[np.float32]:
    """(P,) share of the mask pixels with their centre in a cell that are tissue."""
    corner = cells.region_xy_level0.astype(np.float64)
    steps = np.arange(cells.side + 1) * cells.patch_level0
    tissue, pixels = count_pixels(mask, corner[:, :1] + steps, corner[:, 1:] + steps)
    fraction = tissue / np.maximum(pixels, 1)
    return np.asarray(fraction.reshape(-1), np.float32)
