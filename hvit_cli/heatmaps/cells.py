"""A map as GeoJSON that QuPath opens: a square for each patch that was seen, with its numbers.

Features follow what QuPath 0.4 and later writes: `objectType` tile, a classification with a
colour, `measurements` as a dictionary. Coordinates are level-0 pixels.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hvit_cli.heatmaps.maps import PatchMap
from hvit_cli.heatmaps.render import RgbImage, colour_range, colour_table, colours
from hvit_cli.heatmaps.stitch import patch_edges_level0
from hvit_cli.settings import HeatmapSettings

Json = dict[str, Any]
_IDS = uuid.UUID("6f9619ff-8b86-4d01-b42d-00cf4fc964ff")


def cells(
    raw_maps: Mapping[str, PatchMap],
    scaled_maps: Mapping[str, PatchMap],
    settings: HeatmapSettings,
) -> Json:
    """The seen patches of one or two maps as a FeatureCollection.

    A patch that only one of the maps saw has only that one's numbers. The first map that saw it
    gives its colour.

    Args:
        raw_maps: Values as they are, by attention kind.
        scaled_maps: The same maps on the scale that is shown, under the same keys.
        settings: The colours.
    """
    table = colour_table(settings.shown_colour_map)
    limits = colour_range(
        settings.shown_scale,
        list(scaled_maps.values()),
        settings.colour_range,
        settings.percentile,
    )
    found: dict[tuple[int, int], Json] = {}
    for key, raw in raw_maps.items():
        shown = scaled_maps[key].value
        painted = colours(shown, table, limits)
        x, y = patch_edges_level0(raw)
        for row in np.flatnonzero(raw.visible).tolist():
            place = int(raw.region_index[row]), int(raw.patch_index[row])
            feature = found.get(place)
            if feature is None:
                feature = found[place] = _feature(raw, row, x, y, painted)
            measured = feature["properties"]["measurements"]
            measured[f"{key} {raw.quantity}"] = float(raw.value[row])
            measured[f"{key} {raw.quantity}, {settings.shown_scale}"] = float(shown[row])
    ordered = [found[place] for place in sorted(found)]
    return {"type": "FeatureCollection", "features": ordered}


def _feature(raw: PatchMap, row: int, x: Any, y: Any, painted: RgbImage) -> Json:
    region, patch = int(raw.region_index[row]), int(raw.patch_index[row])
    j, i = divmod(patch, raw.side)
    left, right = x[region, i], x[region, i + 1]
    top, bottom = y[region, j], y[region, j + 1]
    ring = [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]
    colour = painted[row].tolist()
    return {
        "type": "Feature",
        # The same patch of the same slide has the same name in every file.
        "id": str(uuid.uuid5(_IDS, f"{raw.slide_id}/{raw.side}/{region}/{patch}")),
        "geometry": {
            "type": "Polygon",
            "coordinates": [[[round(float(a), 2), round(float(b), 2)] for a, b in ring]],
        },
        "properties": {
            "objectType": "tile",
            "name": f"region {region}, patch {patch}",
            "color": colour,
            "classification": {
                "name": "Seen glass" if raw.background[row] else "Seen tissue",
                "color": [200, 200, 200] if raw.background[row] else [46, 125, 50],
            },
            "isLocked": False,
            "measurements": {
                "region": region,
                "patch": patch,
                "tissue fraction": float(raw.tissue_fraction[row]),
            },
        },
    }


def write_cells(path: Path, collection: Json) -> None:
    """Writes GeoJSON to the path given."""
    path.write_text(json.dumps(collection, separators=(",", ":")), encoding="utf-8")
