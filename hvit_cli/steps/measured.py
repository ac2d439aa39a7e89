"""What was measured of a slide, kept beside the summary, so that a stopped run goes on."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hvit_cli.measures.records import MapMeasures, MapRow
from hvit_cli.settings import MeasureSettings, as_recipe
from hvit_cli.steps.choose import ChosenModel
from hvit_cli.steps.kept_rows import keep_rows, kept_rows
from hvit_cli.steps.slide_truth import TruthSource
from hvit_cli.storage.features import SlideFeatures

# Raised when the same settings begin to give other numbers.
METHOD = 1

_KIND = "hvit-map-measures"


def measured_recipe(
    features: SlideFeatures,
    models: Sequence[ChosenModel],
    truth: TruthSource | None,
    settings: MeasureSettings,
    *,
    from_pixels: bool,
    again: bool,
) -> dict[str, Any]:
    """Everything that decides a slide's rows; how intervals are drawn comes later.

    Args:
        features: The slide's features.
        models: The models that are measured.
        truth: Where pathology masks lie.
        settings: Which maps and measures.
        from_pixels: Whether the slide itself is at hand.
        again: Whether the slide is embedded anew, for stability.
    """
    kept = as_recipe(settings)
    del kept["draws"], kept["stability_slides"]
    mask = None
    if truth is not None:
        values = {k: list(v) for k, v in dataclasses.asdict(truth.scheme).items()}
        path = truth.path(features.slide_id)
        content = path.read_bytes() if path.is_file() else b""
        mask = {**values, "sha256": hashlib.sha256(content).hexdigest()}
    return {
        "method": METHOD,
        "settings": kept,
        "models": [[m.folder.name, *(one.sha256 for one in m.folder.members)] for m in models],
        "features": features.recipe,
        "patches": features.patches,
        "mask": mask,
        "from_pixels": from_pixels,
        "again": again,
    }


def stored_rows(path: Path, recipe: dict[str, Any]) -> list[MapMeasures] | None:
    """The rows that were measured with this recipe; None where there are none."""
    rows = kept_rows(path, _KIND, recipe)
    if rows is None:
        return None
    return [MapMeasures(**{**row, "row": MapRow(**row["row"])}) for row in rows]


def store_rows(path: Path, recipe: dict[str, Any], rows: Sequence[MapMeasures]) -> None:
    """Writes a slide's rows, whole or not at all."""
    keep_rows(path, _KIND, recipe, [dataclasses.asdict(row) for row in rows])
