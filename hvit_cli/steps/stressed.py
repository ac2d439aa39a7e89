"""What other glass did to a slide, kept beside the summary, so that a stopped run goes on."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hvit_cli.measures.stress import StressRow
from hvit_cli.settings import StressSettings, TissueSettings, as_recipe
from hvit_cli.slides.entry import SlideEntry
from hvit_cli.slides.fingerprint import fingerprint
from hvit_cli.steps.choose import ChosenModel
from hvit_cli.steps.kept_rows import keep_rows, kept_rows
from hvit_cli.steps.segment import named_mask
from hvit_cli.storage.features import SlideFeatures

# Raised when the same settings begin to give other numbers.
METHOD = 1

_KIND = "hvit-stress"


def stressed_recipe(
    features: SlideFeatures,
    models: Sequence[ChosenModel],
    donor: SlideEntry | None,
    settings: StressSettings,
    tissue: TissueSettings,
) -> dict[str, Any]:
    """Everything that decides a slide's rows; how intervals are drawn comes later.

    Args:
        features: The slide's features.
        models: The models that grade it.
        donor: The slide whose glass it gets.
        settings: What the glass becomes.
        tissue: How tissue is found, which says where the donor's glass is.

    Raises:
        UnreadableSlideError: The donor cannot be read.
    """
    kept = as_recipe(settings)
    del kept["draws"]
    given = None
    if donor is not None:
        mask = named_mask(donor, tissue)
        content = mask.read_bytes() if mask is not None and mask.is_file() else b""
        given = {
            "slide": fingerprint(donor.path, ()),
            "spacing_um": donor.spacing_um,
            "tissue": as_recipe(tissue),
            "mask": hashlib.sha256(content).hexdigest(),
        }
    return {
        "method": METHOD,
        "settings": kept,
        "models": [
            [m.folder.name, m.attention, m.note, *(one.sha256 for one in m.members)] for m in models
        ],
        "features": features.recipe,
        "patches": features.patches,
        "donor": given,
    }


def kept_stressed(path: Path, recipe: dict[str, Any]) -> list[StressRow] | None:
    """The rows that were found with this recipe; None where there are none."""
    rows = kept_rows(path, _KIND, recipe)
    return None if rows is None else [StressRow(**row) for row in rows]


def keep_stressed(path: Path, recipe: dict[str, Any], rows: Sequence[StressRow]) -> None:
    """Writes a slide's rows, whole or not at all."""
    keep_rows(path, _KIND, recipe, [dataclasses.asdict(row) for row in rows])
