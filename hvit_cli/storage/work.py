"""The work folder: where each product of a slide lies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class WorkFolder:
    """Names of the products below one folder, `hvit-out` by default.

    Attributes:
        path: The folder; made when the first product is written.
    """

    path: Path

    def mask(self, slide_id: str) -> Path:
        """Pyramidal tissue mask, 0/1."""
        return self.path / "masks" / f"{slide_id}.tiff"

    def contours(self, slide_id: str) -> Path:
        """Tissue outlines in level-0 pixels."""
        return self.path / "contours" / f"{slide_id}.geojson"

    def tiles(self, slide_id: str) -> Path:
        """Regions and tissue fractions."""
        return self.path / "tiles" / f"{slide_id}.h5"

    def qc_picture(self, slide_id: str) -> Path:
        """Overview with tissue, regions and patches."""
        return self.path / "qc" / f"{slide_id}.jpg"

    @property
    def qc_index(self) -> Path:
        """Page of all overviews."""
        return self.path / "qc" / "index.html"

    def features_folder(self, encoder: str, recipe8: str) -> Path:
        """Folder of the features that one encoder made in one way."""
        return self.path / "features" / f"{encoder}-{recipe8}"

    @property
    def models(self) -> Path:
        """Folder of trained models."""
        return self.path / "models"

    @property
    def encoders(self) -> Path:
        """Folder of pretrained encoders."""
        return self.path / "encoders"

    @property
    def predictions(self) -> Path:
        """Table of scores and grades."""
        return self.path / "predictions.csv"

    def heatmap(self, slide_id: str, suffix: str = ".png") -> Path:
        """Heatmap picture."""
        return self.path / "heatmaps" / f"{slide_id}{suffix}"

    def shifted(self, shift_patches: tuple[float, float]) -> ShiftedWorkFolder:
        """The folder for products of a grid that is moved by fractions of a patch."""
        return ShiftedWorkFolder(self.path, shift_patches)

    def traceback(self, slide_id: str, stage: str) -> Path:
        """Traceback of a slide that failed by a bug rather than by its content."""
        return self.path / "status" / "tracebacks" / f"{slide_id}-{stage}.txt"


@dataclass(frozen=True)
class ShiftedWorkFolder(WorkFolder):
    """A work folder whose regions lie on a shifted grid, beside those of the grid itself.

    Masks are the same for all grids; features lie apart by their recipe.

    Attributes:
        shift_patches: (x, y) in patches.
    """

    shift_patches: tuple[float, float]

    @property
    def _grid(self) -> Path:
        x, y = self.shift_patches
        return self.path / "shifted" / f"{x:.4g}-{y:.4g}"

    def tiles(self, slide_id: str) -> Path:
        """Regions and tissue fractions on the shifted grid."""
        return self._grid / "tiles" / f"{slide_id}.h5"

    def qc_picture(self, slide_id: str) -> Path:
        """Overview with the shifted regions."""
        return self._grid / "qc" / f"{slide_id}.jpg"
