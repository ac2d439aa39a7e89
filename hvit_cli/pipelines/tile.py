"""`hvit tile`: slides to regions and patches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from hvit_cli import __version__
from hvit_cli.engine.attempt import Step
from hvit_cli.engine.execute import ALONE, one_at_a_time, run_job
from hvit_cli.engine.job import SlideJob
from hvit_cli.engine.run import SlideRecord
from hvit_cli.settings import (
    ReadingSettings,
    RunSettings,
    TilingSettings,
    TissueSettings,
    as_recipe,
)
from hvit_cli.slides.manifest import SlideEntry, find_slides
from hvit_cli.slides.reader import open_slide
from hvit_cli.steps.picture import write_qc_page
from hvit_cli.steps.segment import tissue_files
from hvit_cli.steps.tile import FoundRegions, make_tiles
from hvit_cli.storage.atomic import require_writable
from hvit_cli.storage.plan import record_exclusion
from hvit_cli.storage.status import StatusRow
from hvit_cli.storage.work import WorkFolder

STAGE = "tile"


@dataclass(frozen=True, kw_only=True)
class TileJob(SlideJob[FoundRegions]):
    """Lays the regions of a slide on its tissue."""

    stage: ClassVar[str] = STAGE

    reading: ReadingSettings
    tissue: TissueSettings
    tiling: TilingSettings
    overwrite: bool = False

    def open(self) -> Step[FoundRegions]:
        """Nothing to load."""
        return self._step

    def light(self, product: FoundRegions) -> FoundRegions:
        """Leaves mask and tiles in their files."""
        return replace(product, tiles=None, tissue=replace(product.tissue, mask=None))

    def asked(self) -> dict[str, Any] | None:
        """Spacing, tissue and tiling."""
        if self.overwrite:
            return None
        return {
            "hvit": __version__,
            "reading": as_recipe(self.reading),
            "tissue": as_recipe(self.tissue),
            "tiling": as_recipe(self.tiling),
        }

    def made(self, entry: SlideEntry, product: FoundRegions) -> tuple[Path, ...]:  # noqa: ARG002
        """Mask, outlines, tiles, picture, and the mask of others."""
        own = (self.work.tiles(entry.slide_id), self.work.qc_picture(entry.slide_id))
        return (*tissue_files(entry, self.tissue, self.work), *own)

    def _step(self, entry: SlideEntry) -> tuple[StatusRow, FoundRegions]:
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
            )
            return found.row(entry, STAGE), found


def tile(
    sources: Sequence[Path],
    *,
    work: WorkFolder,
    reading: ReadingSettings,
    tissue: TissueSettings,
    tiling: TilingSettings,
    exclude: Path | None = None,
    overwrite: bool = False,
    running: RunSettings = ALONE,
) -> Iterator[SlideRecord[FoundRegions]]:
    """Lays the regions of slides on their tissue, finding the tissue where it is not known.

    Args:
        sources: Slides, folders, manifests.
        work: The work folder.
        reading: The spacing at which patches will be read, and where the slides' own comes from.
        tissue: How tissue is found.
        tiling: Regions and patches.
        exclude: Table of slides to leave out.
        overwrite: Make products again that exist with other settings.
        running: How the slides are spread over processes, guarded and shared.

    Yields:
        A record per slide.

    Raises:
        ManifestError: The slides cannot be listed.
        StorageError: Nothing can be written to the work folder.
    """
    entries = find_slides(sources, exclude=exclude, mask_pattern=tissue.mask_pattern)

    require_writable(work.path)
    record_exclusion(work.path, STAGE, exclude)
    job = TileJob(work=work, reading=reading, tissue=tissue, tiling=tiling, overwrite=overwrite)
    try:
        yield from run_job(entries, job, running)
    finally:
        with one_at_a_time(work, "qc"):
            write_qc_page(work)
