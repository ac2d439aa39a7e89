"""From what a pixel is to the colour it has: two stains and the law of Beer and Lambert."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from hvit_cli.demo.layer import EPITHELIUM, LUMEN, NOTHING, STROMA, TissueLayer
from hvit_cli.demo.noise import texture
from hvit_cli.demo.nuclei import stamp_nuclei
from hvit_cli.demo.scanner import Scanner

Raster = npt.NDArray[np.uint8]

# Amounts of stain, 0-255, by kind of tissue.
_HAEMATOXYLIN = {NOTHING: 0, STROMA: 14, EPITHELIUM: 46, LUMEN: 0}
_EOSIN = {NOTHING: 0, STROMA: 128, EPITHELIUM: 84, LUMEN: 4}


@dataclass(frozen=True, kw_only=True)
class Staining:
    """How strongly one slide took the stains, relative to the scanner's usual."""

    haematoxylin: float = 1.0
    eosin: float = 1.0


def stained(
    rng: np.random.Generator, layer: TissueLayer, scanner: Scanner, staining: Staining
) -> tuple[Raster, int]:
    """The layer's transmission, (rows, columns, 3) uint8 with 255 = glass, and its nuclei.

    Multiply the glass by it. Outside the tissue it is 255 exactly, before the blur.
    """
    haematoxylin, eosin = amounts(layer)
    count = stamp_nuclei(rng, layer, haematoxylin)
    _roughen(rng, layer, haematoxylin, eosin)
    tissue = (layer.kind != NOTHING).astype(np.uint8)
    haematoxylin *= tissue
    eosin *= tissue
    return transmission(haematoxylin, eosin, scanner, staining), count


def amounts(layer: TissueLayer) -> tuple[Raster, Raster]:
    """Haematoxylin and eosin of the tissue without nuclei, (rows, columns) uint8 each."""
    haematoxylin = cv2.LUT(layer.kind, _table(_HAEMATOXYLIN))
    eosin = cv2.LUT(layer.kind, _table(_EOSIN))
    return np.asarray(haematoxylin, np.uint8), np.asarray(eosin, np.uint8)


def _table(value: dict[int, int]) -> Raster:
    table = np.zeros(256, np.uint8)
    for kind, amount in value.items():
        table[kind] = amount
    return table


def _roughen(
    rng: np.random.Generator, layer: TissueLayer, haematoxylin: Raster, eosin: Raster
) -> None:
    """Grain, fibres and chromatin, in place; the lumen stays empty."""
    grain = texture(rng, layer.shape, 2.2)
    fibres = texture(rng, layer.shape, 3.2, stretch=14.0)
    solid = cv2.inRange(layer.kind, STROMA, EPITHELIUM)
    stroma = cv2.inRange(layer.kind, STROMA, STROMA)
    rough = cv2.addWeighted(haematoxylin, 1.0, grain, 0.35, -0.35 * 128)
    cv2.copyTo(rough, solid, haematoxylin)
    rough = cv2.addWeighted(eosin, 1.0, grain, -0.30, 0.30 * 128)
    cv2.copyTo(rough, solid, eosin)
    rough = cv2.addWeighted(eosin, 1.0, fibres, 0.65, -0.65 * 128)
    cv2.copyTo(rough, stroma, eosin)


def transmission(
    haematoxylin: Raster, eosin: Raster, scanner: Scanner, staining: Staining
) -> Raster:
    """(rows, columns, 3) uint8 light that passes, of 255, for amounts of the two stains."""
    blue = _passes(scanner.haematoxylin_od, staining.haematoxylin)
    pink = _passes(scanner.eosin_od, staining.eosin)
    through_blue = cv2.LUT(cv2.merge([haematoxylin] * 3), blue)
    through_pink = cv2.LUT(cv2.merge([eosin] * 3), pink)
    return np.asarray(cv2.multiply(through_blue, through_pink, scale=1 / 255), np.uint8)


def _passes(density: tuple[float, float, float], strength: float) -> Raster:
    amount = np.arange(256, dtype=np.float64)[:, None] / 200.0 * strength
    light = 255.0 * np.exp(-amount * np.asarray(density))
    return np.asarray(np.round(light)[None], np.uint8)
