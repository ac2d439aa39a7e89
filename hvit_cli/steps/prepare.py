"""What a model needs of a slide before it can look: tissue, regions, features.

Each of them is computed where it is missing, and reused where it lies in the work folder and
matches.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hvit_cli.settings import ReadingSettings, TilingSettings, TissueSettings
from hvit_cli.slides.manifest import SlideEntry
from hvit_cli.slides.reader import open_slide
from hvit_cli.steps.embed import Embedder, features_path, make_features
from hvit_cli.steps.remade import remarks, said_of_parts
from hvit_cli.steps.tile import make_tiles
from hvit_cli.steps.watch import Watch, unwatched
from hvit_cli.storage.features import SlideFeatures
from hvit_cli.storage.status import Status, StatusRow
from hvit_cli.storage.work import WorkFolder


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A slide's features, or why there are none.

    Attributes:
        status: done, or no_tissue, empty_mask, no_region, skipped.
        features: The features; None unless done.
        remark: Why there are none, or why an existing file was made again.
        tissue_mm2: Tissue found on a slide without features, none of it looked at.
        file: Where the features lie; None where there are none.
    """

    status: Status
    features: SlideFeatures | None = None
    remark: str = ""
    tissue_mm2: float | None = None
    file: Path | None = None

    def row(self, entry: SlideEntry, stage: str) -> StatusRow:
        """The slide's line in the status log."""
        features = self.features
        return StatusRow(
            slide_id=entry.slide_id,
            path=str(entry.path),
            stage=stage,
            status=self.status,
            reason=self.remark,
            spacing_um=features.spacing_um if features else None,
            n_regions=features.n_regions if features else 0,
            n_patches=len(features.features) if features else 0,
            tissue_mm2=features.tissue_mm2 if features else self.tissue_mm2,
            tissue_dropped_mm2=features.tissue_dropped_mm2 if features else self.tissue_mm2,
        )


@dataclass(frozen=True, kw_only=True)
class SlidePreparer:
    """Everything that decides a slide's features.

    Attributes:
        work: Where products are looked for and written.
        reading: Spacing at which slides are read, and where their own comes from.
        tissue: How tissue is found.
        tiling: How it is cut into regions.
        embedder: The patch encoder.
        overwrite: Make products again that exist with other settings.
        shift_patches: Moves every grid of regions left and up, (x, y) in patches.
        watch: Told how far each slide is.

    Raises:
        ModelError: Tokens are to be masked, and the encoder cannot do without any.
    """

    work: WorkFolder
    reading: ReadingSettings
    tissue: TissueSettings
    tiling: TilingSettings
    embedder: Embedder
    overwrite: bool = False
    shift_patches: tuple[float, float] = (0.0, 0.0)
    watch: Watch = unwatched

    def __post_init__(self) -> None:
        if self.embedder.mask_level != "region":
            self.embedder.encoder.token_grid(self.tiling.patch_px)

    def features(self, entry: SlideEntry) -> Prepared:
        """Finds or makes one slide's features.

        Raises:
            SlideError: The slide, its spacing or its pixels cannot be read.
            RecipeError: A product exists with other settings.
        """
        with open_slide(
            entry.path,
            self.reading,
            slide_id=entry.slide_id,
            manifest_spacing_um=entry.spacing_um,
        ) as slide:
            found = make_tiles(
                slide,
                entry,
                reading=self.reading,
                tissue=self.tissue,
                tiling=self.tiling,
                work=self.work,
                overwrite=self.overwrite,
                shift_patches=self.shift_patches,
            )
            if found.tiles is None or found.status != "done":
                mask = found.tissue.mask
                return Prepared(
                    status=found.status,
                    remark=found.remark,
                    tissue_mm2=mask.tissue_mm2 if mask else None,
                )
            features, remark = make_features(
                slide,
                found.tiles,
                self.embedder,
                self.work,
                overwrite=self.overwrite,
                mask=found.tissue.mask,
                watch=self.watch,
            )
            file = features_path(found.tiles, self.embedder, self.work)
            remark = remarks(said_of_parts(found.remark), remark)
            return Prepared(status="done", features=features, remark=remark, file=file)
