"""Tissue outlines as GeoJSON, from a mask and back.

Coordinates are level-0 pixels with the origin at the slide's top-left corner, as QuPath draws
them. Outlines run along the edges of mask pixels, so that filling them by the rule "a pixel
belongs to the polygon that holds its centre" gives the same mask again.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from hvit_cli.errors import TissueError
from hvit_cli.tissue.mask import TissueMask, mask_over_slide

TISSUE_CLASS = "Tissue"
_COLOUR = (46, 125, 50)
# Outlines are filled this finely, so that what a hand drew is not lost.
_SPACING_UM = 2.0

Json = dict[str, Any]
Ring = npt.NDArray[np.float64]


def mask_to_geojson(mask: TissueMask) -> Json:
    """The outlines of a mask: a FeatureCollection with one polygon, with holes, per component."""
    features = [
        {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": rings},
            "properties": {
                "objectType": "annotation",
                "classification": {"name": TISSUE_CLASS, "color": list(_COLOUR)},
                "isLocked": False,
            },
        }
        for rings in _polygons(mask)
    ]
    return {"type": "FeatureCollection", "features": features}


def _polygons(mask: TissueMask) -> list[list[list[list[float]]]]:
    # On a raster of twice the size, pixel edges and corners are pixels themselves (the even
    # coordinates), and contours through pixels become contours along edges.
    height, width = mask.pixels.shape
    edges = np.zeros((2 * height + 1, 2 * width + 1), np.uint8)
    edges[1::2, 1::2] = mask.pixels
    edges = np.asarray(cv2.dilate(edges, np.ones((3, 3), np.uint8)), np.uint8)
    contours, hierarchy = cv2.findContours(edges, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    if hierarchy is None:
        return []
    scale = np.asarray(mask.level0_per_px) / 2
    rings = [_closed(contour[:, 0, :] * scale) for contour in contours]
    parent = hierarchy[0][:, 3]
    return [
        [rings[i], *(rings[j] for j in np.flatnonzero(parent == i))]
        for i in np.flatnonzero(parent < 0)
    ]


def _closed(points: Ring) -> list[list[float]]:
    ring = [[round(float(x), 2), round(float(y), 2)] for x, y in points]
    return [*ring, ring[0]]


def geojson_to_mask(
    geojson: Any,
    size_level0: tuple[int, int],
    spacing_um_level0: float,
    *,
    shape_px: tuple[int, int] | None = None,
    where: Path | str = "GeoJSON",
) -> TissueMask:
    """Fills outlines into a mask.

    A FeatureCollection, a Feature, a geometry, or a list of those is understood; Polygon and
    MultiPolygon, with holes. Where some shapes are classified, as in QuPath, those called
    Tissue and those without a class count.

    Args:
        geojson: The parsed JSON; coordinates in level-0 pixels.
        size_level0: (width, height) of the slide in level-0 pixels.
        spacing_um_level0: Micrometres per level-0 pixel of the slide.
        shape_px: (rows, columns) of the mask; about 2 µm per pixel by default.
        where: Name of the source, for messages.

    Raises:
        TissueError: There is no polygon to use, or none of them touches the slide.
    """
    try:
        shapes = list(_shapes(geojson, None, where))
    except RecursionError as error:
        raise _not_understood(where, "lists within lists without an end") from error
    classes = {name for _, name in shapes if name is not None}
    used = [rings for rings, name in shapes if name is None or name.lower() == "tissue"]
    if shapes and not used:
        raise TissueError(
            "no outline is classified as tissue",
            where=where,
            found=f"the classes {', '.join(sorted(classes))}",
            wanted=f"the class {TISSUE_CLASS}, or none",
        )
    if shape_px is None:
        step = max(_SPACING_UM / spacing_um_level0, 1.0)
        shape_px = (max(round(size_level0[1] / step), 1), max(round(size_level0[0] / step), 1))
    pixels = np.zeros(shape_px, np.uint8)
    per_px = np.asarray([size_level0[0] / shape_px[1], size_level0[1] / shape_px[0]])
    for rings in used:
        _fill(pixels, [ring / per_px for ring in rings])
    _check_frame(used, size_level0, where)
    return mask_over_slide(pixels, size_level0, spacing_um_level0, "geojson")


def _check_frame(
    polygons: list[list[Ring]], size_level0: tuple[int, int], where: Path | str
) -> None:
    points = [ring for rings in polygons for ring in rings]
    if not points:
        return
    low = np.min([ring.min(axis=0) for ring in points], axis=0)
    high = np.max([ring.max(axis=0) for ring in points], axis=0)
    if (low >= size_level0).any() or (high <= 0).any():
        raise TissueError(
            "the outlines lie outside the slide",
            where=where,
            found=f"x {low[0]:.0f} to {high[0]:.0f}, y {low[1]:.0f} to {high[1]:.0f}",
            wanted=f"level-0 pixels within {size_level0[0]} x {size_level0[1]}",
        )


def _shapes(
    node: Any, classification: str | None, where: Path | str
) -> Iterator[tuple[list[Ring], str | None]]:
    """Polygons as lists of rings, outer first, each with the name of its class."""
    if isinstance(node, list):
        for part in node:
            yield from _shapes(part, classification, where)
        return
    if not isinstance(node, dict):
        raise _not_understood(where, type(node).__name__)
    match node.get("type"):
        case "FeatureCollection":
            yield from _shapes(node.get("features", []), classification, where)
        case "Feature":
            yield from _shapes(node.get("geometry"), _class_of(node), where)
        case "GeometryCollection":
            yield from _shapes(node.get("geometries", []), classification, where)
        case "Polygon":
            yield _rings(node, node.get("coordinates"), where), classification
        case "MultiPolygon":
            polygons = node.get("coordinates")
            if not isinstance(polygons, list):
                raise _not_understood(where, "a MultiPolygon with broken coordinates")
            for polygon in polygons:
                yield _rings(node, polygon, where), classification
        case other:
            raise _not_understood(where, other)


def _class_of(feature: Json) -> str | None:
    properties = feature.get("properties")
    classification = properties.get("classification") if isinstance(properties, dict) else None
    name = classification.get("name") if isinstance(classification, dict) else classification
    return str(name) if name else None


def _rings(node: Json, coordinates: Any, where: Path | str) -> list[Ring]:
    try:
        rings = [np.asarray(ring, np.float64)[:, :2] for ring in coordinates]
    except (TypeError, ValueError, IndexError) as error:
        raise _not_understood(where, f"a {node['type']} with broken coordinates") from error
    if any(ring.ndim != 2 or ring.shape[1] != 2 for ring in rings):
        raise _not_understood(where, f"a {node['type']} whose points are not (x, y)")
    if not rings or any(len(ring) < 3 or not np.isfinite(ring).all() for ring in rings):
        raise _not_understood(where, f"a {node['type']} with a ring of fewer than three points")
    return rings


def _not_understood(where: Path | str, found: object) -> TissueError:
    return TissueError(
        "these outlines cannot be understood",
        where=where,
        found=found,
        wanted="GeoJSON with Polygon or MultiPolygon in level-0 pixels",
    )


def _fill(pixels: npt.NDArray[np.uint8], rings: list[Ring]) -> None:
    """Sets the pixels whose centre lies inside an odd number of rings (in mask pixels)."""
    height, width = pixels.shape
    starts = np.concatenate(rings)
    ends = np.concatenate([np.roll(ring, -1, axis=0) for ring in rings])
    upward = starts[:, 1] > ends[:, 1]
    top, bottom = np.where(upward[:, None], ends, starts), np.where(upward[:, None], starts, ends)
    # Rows whose centre line an edge crosses, its lower end excluded.
    first = np.clip(np.ceil(top[:, 1] - 0.5), 0, height).astype(np.int64)
    last = np.clip(np.ceil(bottom[:, 1] - 0.5), 0, height).astype(np.int64)
    edge = np.repeat(np.arange(len(first)), last - first)
    if len(edge) == 0:
        return
    row = np.arange(len(edge)) - np.repeat(np.cumsum(last - first) - (last - first), last - first)
    row += first[edge]
    slope = (bottom[edge, 0] - top[edge, 0]) / (bottom[edge, 1] - top[edge, 1])
    crossing = top[edge, 0] + (row + 0.5 - top[edge, 1]) * slope
    column = np.clip(np.ceil(crossing - 0.5), 0, width).astype(np.int64)
    y, x = int(row.min()), int(column.min())
    toggles = np.zeros((int(row.max()) - y + 1, int(column.max()) - x + 1), np.int64)
    np.add.at(toggles, (row - y, column - x), 1)
    inside = (np.cumsum(toggles, axis=1) % 2).astype(np.uint8)[:, : width - x]
    target = pixels[y : y + inside.shape[0], x : x + inside.shape[1]]
    np.maximum(target, inside, out=target)
