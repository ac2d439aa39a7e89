"""What a pathology mask says about each patch: tumour, other tissue, or neither for sure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hvit_cli.errors import TissueError
from hvit_cli.settings import LabelScheme
from hvit_cli.storage.features import SlideFeatures
from hvit_cli.tissue.coverage import count_pixels
from hvit_cli.tissue.mask import mask_over_slide

Bools = npt.NDArray[np.bool_]

TUMOUR_SHARE = 0.5
"""A patch is positive from this share of tumour in its labelled tissue on."""
LABELLED_SHARE = 0.5
"""A patch is judged where at least this share of its tissue is labelled."""
_OVER_TISSUE = 0.5
_NAMED = 8


@dataclass(frozen=True, kw_only=True)
class PatchTruth:
    """Truth of the P patches of a feature file.

    Attributes:
        positive: (P,) tumour is at least half of the labelled tissue.
        negative: (P,) labelled tissue, and no pixel of tumour.
    """

    positive: Bools
    negative: Bools


def patch_truth(
    labels: npt.NDArray[Any], features: SlideFeatures, scheme: LabelScheme, where: object
) -> PatchTruth:
    """Counts a mask's values inside every patch.

    Args:
        labels: (h, w) values of the mask, which covers the whole slide.
        features: The slide's features, for their patches.
        scheme: What the values mean.
        where: The mask, for errors.

    Raises:
        TissueError: The mask holds values without a meaning, or lies elsewhere than the
            tissue: it is another slide's.
    """
    _require_known(labels, scheme, where)
    tumour, pixels = _counts(np.isin(labels, scheme.tumour_values), features)
    other, _ = _counts(np.isin(labels, scheme.other_values), features)
    labelled = tumour + other
    tissue = features.tissue_fraction > features.background_below
    _require_over_tissue(labels, scheme, int(labelled[tissue].sum()), features, where)
    enough = tissue & (labelled > 0)
    enough &= labelled >= LABELLED_SHARE * features.tissue_fraction * pixels
    return PatchTruth(
        positive=enough & (tumour >= TUMOUR_SHARE * labelled), negative=enough & (tumour == 0)
    )


def _counts(
    chosen: Bools, features: SlideFeatures
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(P,) chosen mask pixels, and all of them, with their centre in each patch."""
    mask = mask_over_slide(
        chosen.astype(np.uint8), features.size_level0, features.spacing_um_level0, "external"
    )
    corner = features.region_xy_level0.astype(np.float64)
    steps = np.arange(features.region_px // features.patch_px + 1) * features.patch_level0
    found, pixels = count_pixels(mask, corner[:, :1] + steps, corner[:, 1:] + steps)
    row = (features.region_index, features.patch_index)
    return (
        found.reshape(features.n_regions, -1)[row],
        pixels.reshape(features.n_regions, -1)[row],
    )


def _require_known(labels: npt.NDArray[Any], scheme: LabelScheme, where: object) -> None:
    found = np.unique(labels).tolist()
    unknown = [value for value in found if value not in scheme.known]
    if unknown:
        more = ", …" if len(unknown) > _NAMED else ""
        raise TissueError(
            "the mask holds values without a meaning",
            where=where,
            found=", ".join(map(str, unknown[:_NAMED])) + more,
            wanted=f"tumour {_listed(scheme.tumour_values)}; other tissue "
            f"{_listed(scheme.other_values)}; ignored {_listed(scheme.ignore_values)}",
            hint="--tumour-values, --other-values and --ignore-values, or --preset",
        )


def _require_over_tissue(
    labels: npt.NDArray[Any],
    scheme: LabelScheme,
    in_patches: int,
    features: SlideFeatures,
    where: object,
) -> None:
    everywhere = int(np.isin(labels, scheme.tumour_values + scheme.other_values).sum())
    if everywhere == 0:
        raise TissueError(
            "the mask labels no tissue at all", where=where, found="ignored values alone"
        )
    if in_patches < _OVER_TISSUE * everywhere:
        raise TissueError(
            "the mask does not lie over this slide's tissue: it may be another slide's",
            where=where,
            found=f"{in_patches / everywhere:.0%} of its labelled area in tissue patches of "
            f"{features.slide_id}",
            wanted=f"{_OVER_TISSUE:.0%} or more",
        )


def _listed(values: tuple[int, ...]) -> str:
    return ", ".join(map(str, values)) or "none"
