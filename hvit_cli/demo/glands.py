"""Glands of the benign, Gleason 3 and Gleason 4 patterns: same tissue, other architecture.

A gland is a small raster: an outline, and inside it a lumen that takes an exact share of its
area. What differs between the patterns is size, outline, how the lumen is divided and folded,
and how the nuclei stand; what does not differ is how much there is of each.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from hvit_cli.demo.gleason import Pattern
from hvit_cli.demo.layer import (
    EPITHELIAL_NUCLEI_PER_MM2,
    EPITHELIUM,
    GLAND_SHARE,
    LUMEN,
    LUMEN_SHARE_OF_GLAND,
    STROMA,
    Points,
    TissueLayer,
    scattered_points,
)
from hvit_cli.demo.noise import Field, smooth_noise

Mask = npt.NDArray[np.bool_]

_NUCLEUS_PITCH_UM = 8.0
_GAP_STEP_PX = 8
_MOST_FILLED = 400


@dataclass(frozen=True, kw_only=True)
class GlandStyle:
    """The architecture of one pattern."""

    pitch_um: float
    """Distance between the centres of neighbouring glands."""
    pitch_jitter: float
    """How far centres are shaken, as a share of the pitch."""
    size_spread: float
    """Relative standard deviation of the glands' sizes."""
    lobes: float
    """How much the outline bulges, as a share of the radius."""
    branches: int
    """Side branches that large glands may have."""
    folds_um: float
    """How far the epithelium folds into the lumen."""
    fold_grain_um: float
    """Distance between folds."""
    lumen_pitch_um: float | None
    """Distance between the small lumina of one mass; None for a single lumen."""
    rings_um: tuple[float, ...]
    """Depths below the outline at which nuclei stand in a row."""


STYLES = {
    Pattern.BENIGN: GlandStyle(
        pitch_um=215.0,
        pitch_jitter=0.10,
        size_spread=0.10,
        lobes=0.20,
        branches=2,
        folds_um=13.0,
        fold_grain_um=15.0,
        lumen_pitch_um=None,
        rings_um=(4.5, 12.5),
    ),
    Pattern.GLEASON_3: GlandStyle(
        pitch_um=88.0,
        pitch_jitter=0.12,
        size_spread=0.18,
        lobes=0.10,
        branches=0,
        folds_um=1.5,
        fold_grain_um=12.0,
        lumen_pitch_um=None,
        rings_um=(5.0,),
    ),
    Pattern.GLEASON_4: GlandStyle(
        pitch_um=260.0,
        pitch_jitter=0.12,
        size_spread=0.22,
        lobes=0.26,
        branches=2,
        folds_um=2.5,
        fold_grain_um=10.0,
        lumen_pitch_um=44.0,
        rings_um=(),
    ),
}


def draw_glands(
    rng: np.random.Generator, layer: TissueLayer, area: Mask, style: GlandStyle
) -> None:
    """Fills `area` of the layer with glands, on a shaken hexagonal grid.

    Args:
        rng: Source of randomness.
        layer: Drawn on, in place; only its stroma is covered.
        area: (rows, columns) of the layer: where the centres of glands may lie.
        style: The architecture.
    """
    pitch_px = style.pitch_um * layer.px_per_um
    # Cell of the hexagonal grid: pitch² · √3/2; glands take the same share of it everywhere.
    gland_px = min(GLAND_SHARE * pitch_px**2 * np.sqrt(0.75), GLAND_SHARE * float(area.sum()))
    if gland_px < 1:
        return
    for x, y in _centres(rng, layer.shape, pitch_px, style.pitch_jitter):
        row, column = int(y), int(x)
        if 0 <= row < layer.shape[0] and 0 <= column < layer.shape[1] and area[row, column]:
            _place(rng, layer, (x, y), gland_px, style)
    _fill_gaps(rng, layer, area, gland_px, style)


def _fill_gaps(
    rng: np.random.Generator,
    layer: TissueLayer,
    area: Mask,
    gland_px: float,
    style: GlandStyle,
) -> None:
    """Adds glands in the widest gaps until the area has its share of them.

    A shaken grid leaves holes and lets neighbours overlap; without this the patterns would
    differ in how much gland they hold.
    """
    step = _GAP_STEP_PX
    inside = area[step // 2 :: step, step // 2 :: step]
    wanted = GLAND_SHARE * int(inside.sum())
    radius = np.sqrt(gland_px / np.pi) / step
    for _ in range(_MOST_FILLED):
        bare = inside & (layer.kind[step // 2 :: step, step // 2 :: step] == STROMA)
        lacking = wanted - (int(inside.sum()) - int(bare.sum()))
        if lacking * step**2 < 0.3 * gland_px:
            return
        room = cv2.distanceTransform(np.pad(bare, 1).astype(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1]
        row, column = np.unravel_index(int(room.argmax()), room.shape)
        if room[row, column] < 0.3 * radius:
            return
        size = min(gland_px, 1.3 * np.pi * float(room[row, column] * step) ** 2)
        centre = ((column + 0.5) * step, (row + 0.5) * step)
        _place(rng, layer, centre, max(size, 0.35 * gland_px), style)


def _centres(
    rng: np.random.Generator, shape: tuple[int, int], pitch_px: float, jitter: float
) -> npt.NDArray[np.float64]:
    """(n, 2) centres (x, y) of a hexagonal grid over the shape, shaken and turned."""
    reach = np.hypot(*shape) / 2 + pitch_px
    steps = int(np.ceil(reach / pitch_px)) + 1
    i, j = np.mgrid[-steps : steps + 1, -2 * steps : 2 * steps + 1]
    x = (j + 0.5 * (i % 2)) * pitch_px
    y = i * pitch_px * np.sqrt(0.75)
    angle = rng.uniform(0, np.pi)
    cos, sin = np.cos(angle), np.sin(angle)
    turned = np.stack([cos * x - sin * y, sin * x + cos * y], axis=-1).reshape(-1, 2)
    turned += rng.normal(0, jitter * pitch_px, turned.shape)
    points = turned + np.array([shape[1] / 2, shape[0] / 2]) + rng.uniform(-0.5, 0.5, 2) * pitch_px
    near = (points > -pitch_px).all(axis=1) & (
        points < np.array([shape[1], shape[0]]) + pitch_px
    ).all(axis=1)
    return np.asarray(points[near])


def _place(
    rng: np.random.Generator,
    layer: TissueLayer,
    centre_xy: tuple[float, float],
    area_px: float,
    style: GlandStyle,
) -> None:
    scale = layer.px_per_um
    size = max(rng.normal(1, style.size_spread), 0.5) ** 2
    # E[(1 + sX)²] = 1 + s², taken out so that spread does not add tissue.
    gland = gland_raster(rng, area_px * size / (1 + style.size_spread**2), style)
    lumen, depth = carve_lumen(rng, gland, style, scale)
    nuclei = _nuclei(rng, gland, lumen, depth, style, scale)

    rows, columns = gland.shape
    left, top = round(centre_xy[0] - columns / 2), round(centre_xy[1] - rows / 2)
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + columns, layer.shape[1]), min(top + rows, layer.shape[0])
    if x0 >= x1 or y0 >= y1:
        return
    inside = (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
    target = layer.kind[y0:y1, x0:x1]
    free = target == STROMA
    target[gland[inside] & free] = EPITHELIUM
    target[lumen[inside] & free] = LUMEN
    layer.nuclei.append(nuclei + np.array([left, top], np.float32))


def gland_raster(rng: np.random.Generator, area_px: float, style: GlandStyle) -> Mask:
    """The outline of one gland, filled, cut to its bounding box plus a rim.

    Args:
        rng: Source of randomness.
        area_px: Area to cover, in pixels.
        style: The architecture.
    """
    unit = _outline(rng, style.lobes)
    parts = [unit]
    for _ in range(int(rng.integers(0, style.branches + 1)) if style.branches else 0):
        angle = rng.uniform(0, 2 * np.pi)
        shift = np.array([np.cos(angle), np.sin(angle)]) * rng.uniform(0.7, 1.0)
        parts.append(_outline(rng, style.lobes) * rng.uniform(0.5, 0.7) + shift)
    # Drawn once small to learn the area of the union, then at the size that has the area.
    trial = _fill(parts, 24.0)
    return _fill(parts, 24.0 * float(np.sqrt(area_px / max(int(trial.sum()), 1))))


def _outline(rng: np.random.Generator, lobes: float) -> npt.NDArray[np.float64]:
    """(48, 2) points of a closed curve around the origin with a radius near 1."""
    theta = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    radius = np.ones_like(theta)
    for wave in range(2, 6):
        radius += rng.normal(0, lobes / wave) * np.cos(wave * theta + rng.uniform(0, 2 * np.pi))
    curve = np.stack([radius * np.cos(theta), radius * np.sin(theta)], axis=1)
    stretch, turn = np.exp(rng.normal(0, 0.6 * lobes)), rng.uniform(0, np.pi)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return np.asarray(curve * np.array([stretch, 1 / stretch]) @ rotation)


def _fill(parts: list[npt.NDArray[np.float64]], radius_px: float) -> Mask:
    every = np.concatenate(parts) * radius_px
    low = np.floor(every.min(axis=0)) - 3
    width, height = (np.ceil(every.max(axis=0)) + 3 - low).astype(int)
    raster = np.zeros((height, width), np.uint8)
    for part in parts:
        points = np.round((part * radius_px - low) * 16).astype(np.int32)
        cv2.fillPoly(raster, [points], 1, shift=4)
    return raster.astype(bool)


def carve_lumen(
    rng: np.random.Generator, gland: Mask, style: GlandStyle, px_per_um: float
) -> tuple[Mask, Field]:
    """The lumen, an exact share of the gland, and each pixel's depth below the outline (px)."""
    depth: Field = np.asarray(
        cv2.distanceTransform(gland.astype(np.uint8), cv2.DIST_L2, 3), np.float32
    )
    folds = smooth_noise(rng, gland.shape, style.fold_grain_um * px_per_um)
    height = folds * (style.folds_um * px_per_um)
    if style.lumen_pitch_um is None:
        height += depth
    else:
        pitch_px = style.lumen_pitch_um * px_per_um
        seeds = np.ones(gland.shape, np.uint8)
        centres = scattered_points(rng, gland.shape, 1 / pitch_px**2, jitter=0.6)
        seeds[centres[:, 1].astype(int), centres[:, 0].astype(int)] = 0
        height -= np.asarray(cv2.distanceTransform(seeds, cv2.DIST_L2, 3), np.float32)
    rim_px = 7.0 * px_per_um
    wanted = round(LUMEN_SHARE_OF_GLAND * int(gland.sum()))
    height[depth < min(rim_px, 0.45 * float(depth.max()))] = -np.inf
    wanted = min(max(wanted, 1), height.size - 1)
    threshold = np.partition(height, height.size - wanted, axis=None)[height.size - wanted]
    lumen = np.asarray((height >= threshold) & np.isfinite(height), np.bool_)
    return lumen, depth


def _nuclei(
    rng: np.random.Generator,
    gland: Mask,
    lumen: Mask,
    depth: Field,
    style: GlandStyle,
    px_per_um: float,
) -> Points:
    """As many nuclei as the epithelium's area asks for: in rows first, the rest scattered."""
    epithelium = gland & ~lumen
    expected = EPITHELIAL_NUCLEI_PER_MM2 * int(epithelium.sum()) / px_per_um**2 / 1e6
    count = int(expected + rng.random())
    rows = [
        _along_contour(rng, (depth > ring * px_per_um).astype(np.uint8), px_per_um)
        for ring in style.rings_um
    ]
    standing = np.concatenate([*rows, np.zeros((0, 2), np.float32)])
    standing = standing[_holds(epithelium, standing)][:count]
    lacking = count - len(standing)
    # Three times as many candidates as are lacking, then a random choice among them.
    loose = scattered_points(rng, gland.shape, 1 / (0.75 * _NUCLEUS_PITCH_UM * px_per_um) ** 2)
    loose = loose[_holds(epithelium & (depth > 3.0 * px_per_um), loose)]
    loose = rng.permutation(loose)[:lacking]
    return np.concatenate([standing, loose]).astype(np.float32)


def _along_contour(
    rng: np.random.Generator, inner: npt.NDArray[np.uint8], px_per_um: float
) -> Points:
    contours, _ = cv2.findContours(inner, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    found = [np.zeros((0, 2), np.float32)]
    for contour in contours:
        line = contour[:, 0, :].astype(np.float32)
        step = np.hypot(*np.diff(line, axis=0, append=line[:1]).T)
        along = np.concatenate([[0], np.cumsum(step)])
        number = int(along[-1] / (_NUCLEUS_PITCH_UM * px_per_um))
        if number:
            at = (np.arange(number) + rng.uniform(-0.25, 0.25, number) + rng.random()) % number
            index = np.searchsorted(along, at / number * along[-1]) % len(line)
            found.append(line[index] + rng.normal(0, 0.6, (number, 2)).astype(np.float32))
    return np.concatenate(found)


def _holds(mask: Mask, points: Points) -> Mask:
    column, row = np.floor(points).astype(int).T
    row, column = row.clip(0, mask.shape[0] - 1), column.clip(0, mask.shape[1] - 1)
    return np.asarray(mask[row, column], np.bool_)
