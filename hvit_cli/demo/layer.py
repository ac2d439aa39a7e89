"""The drawing of a piece of tissue before it is stained: what each pixel is, and its nuclei."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

NOTHING, STROMA, EPITHELIUM, LUMEN = 0, 1, 2, 3

# The composition that all four patterns share; only the arrangement differs.
EPITHELIUM_SHARE = 0.40
LUMEN_SHARE = 0.13
GLAND_SHARE = EPITHELIUM_SHARE + LUMEN_SHARE
LUMEN_SHARE_OF_GLAND = LUMEN_SHARE / GLAND_SHARE
EPITHELIAL_NUCLEI_PER_MM2 = 8200.0
STROMAL_NUCLEI_PER_MM2 = 1500.0

Kinds = npt.NDArray[np.uint8]
Points = npt.NDArray[np.float32]


@dataclass(kw_only=True)
class TissueLayer:
    """One core while it is being drawn.

    Attributes:
        kind: (rows, columns) uint8 at level 0: NOTHING, STROMA, EPITHELIUM or LUMEN.
        px_per_um: Level-0 pixels per micrometre.
        nuclei: Arrays (n, 2) of points (x, y) in the layer's pixels, epithelial.
    """

    kind: Kinds
    px_per_um: float
    nuclei: list[Points] = field(default_factory=list)

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return self.kind.shape[0], self.kind.shape[1]

    def clear(self, area: npt.NDArray[np.bool_]) -> None:
        """Turns what was drawn in `area`, (rows, columns), back into bare stroma."""
        self.kind[area & (self.kind != NOTHING)] = STROMA
        for index, points in enumerate(self.nuclei):
            column, row = np.floor(points).astype(np.int64).T
            column, row = column.clip(0, self.shape[1] - 1), row.clip(0, self.shape[0] - 1)
            self.nuclei[index] = points[~area[row, column]]

    def kind_at(self, points: Points) -> Kinds:
        """What lies at each point; NOTHING beyond the edge."""
        column, row = np.floor(points).astype(np.int64).T
        rows, columns = self.shape
        inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
        found = np.zeros(len(points), np.uint8)
        found[inside] = self.kind[row[inside], column[inside]]
        return found

    def epithelial_nuclei(self) -> Points:
        """(n, 2) points of the nuclei whose place is still epithelium."""
        if not self.nuclei:
            return np.zeros((0, 2), np.float32)
        points = np.concatenate(self.nuclei)
        return np.asarray(points[self.kind_at(points) == EPITHELIUM], np.float32)


def scattered_points(
    rng: np.random.Generator, shape: tuple[int, int], density_per_px: float, jitter: float = 0.75
) -> Points:
    """(n, 2) points (x, y) on a shaken grid over (rows, columns): random, yet seldom touching."""
    pitch = 1 / np.sqrt(density_per_px)
    rows, columns = shape
    y, x = np.mgrid[0 : rows + pitch : pitch, 0 : columns + pitch : pitch]
    points = np.stack([x.ravel(), y.ravel()], axis=1) - pitch * rng.uniform(0, 1, 2)
    points += rng.uniform(-0.5, 0.5, points.shape) * pitch * jitter
    inside = (points >= 0).all(axis=1) & (points < (columns, rows)).all(axis=1)
    return np.asarray(points[inside], np.float32)
