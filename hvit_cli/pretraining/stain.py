"""More or less haematoxylin and eosin: a change of stain in optical-density space.

By the law of Beer and Lambert the optical densities of a pixel are the amounts of its dyes
times the colour of each dye. The colours are those of Ruifrok and Johnston (2001), whose third
is what neither haematoxylin nor eosin explains. Amounts are scaled and shifted at random as in
Tellez et al. (2018), the third left as it is; in optical density that is one affine map.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

Rgb = npt.NDArray[np.uint8]
Matrix = npt.NDArray[np.float64]

_HAEMATOXYLIN = np.array([0.65, 0.70, 0.29])
_EOSIN = np.array([0.07, 0.99, 0.11])


def _stains() -> Matrix:
    known = [vector / np.linalg.norm(vector) for vector in (_HAEMATOXYLIN, _EOSIN)]
    residual = np.cross(*known)
    return np.stack([*known, residual / np.linalg.norm(residual)])


STAINS = _stains()
"""(3, 3) optical density of red, green and blue (columns) of one unit of each dye (rows)."""
_UNMIXING = np.linalg.inv(STAINS)

# Density of a value: one is added to it, so that black is finite and white has none.
_WHITE = 256.0
_DENSITY = -np.log((np.arange(256) + 1) / _WHITE).astype(np.float32)


def stain_maps(scale: Matrix, shift: Matrix) -> tuple[Matrix, Matrix]:
    """The affine maps of optical density: density → linear @ density + offset.

    Args:
        scale: (n, 2) factors of haematoxylin and eosin; 1 changes nothing.
        shift: (n, 2) amounts added to every pixel.

    Returns:
        (n, 3, 3) linear parts and (n, 3) offsets.
    """
    factors = np.concatenate([scale, np.ones((len(scale), 1))], axis=1)
    # Densities are rows times STAINS; transposed for maps that act on columns.
    linear = (_UNMIXING[None] @ (factors[:, :, None] * STAINS[None])).transpose(0, 2, 1)
    return linear, shift @ STAINS[:2]


def restained(pixels: Rgb, linear: Matrix, offset: Matrix) -> Rgb:
    """A crop whose optical densities go through one affine map, rounded and clipped once.

    Args:
        pixels: (h, w, 3).
        linear: (3, 3).
        offset: (3,).
    """
    density = cv2.LUT(pixels, _DENSITY)
    matrix = -np.concatenate([linear, offset[:, None]], axis=1)
    light = cv2.exp(cv2.transform(density, matrix + 0.0))
    return np.asarray(cv2.addWeighted(light, _WHITE, light, 0, -1, dtype=cv2.CV_8U), np.uint8)
