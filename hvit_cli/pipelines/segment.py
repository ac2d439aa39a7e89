"""`hvit segment`: slides to tissue masks, outlines and overviews."""

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
from hvit_cli.settings import ReadingSettings, RunSettings, TissueSettings, as_recipe
from hvit_cli.slides.manifest import SlideEntry, find_slides
from hvit_cli.slides.reader import open_slide
from hvit_cli.steps.picture import draw_without_regions, write_qc_page
from hvit_cli.steps.segment import FoundTissue, make_mask, tissue_files
from hvit_cli.storage.atomic import require_writable
from hvit_cli.storage.plan import record_exclusion
from hvit_cli.storage.status import StatusRow
from hvit_cli.storage.work import WorkFolder

STAGE = "segment"


@dataclass(frozen=True, kw_only=True)
class SegmentJob(SlideJob[FoundTissue]):
    """Finds the tissue of a slide and draws it."""

    stage: ClassVar[str] = STAGE

    reading: ReadingSettings
    tissue: TissueSettings
    overwrite: bool = False

    def open(self) -> Step[FoundTissue]:
        """Nothing to load."""
        return self._step

    def light(self, product: FoundTissue) -> FoundTissue:
        """Leaves the mask in its file."""
        return replace(product, mask=None)

    def asked(self) -> dict[str, Any] | None:
        """Where spacing and tissue come from."""
        if self.overwrite:
            return None
        return {
            "hvit": __version__,
            "reading": as_recipe(self.reading),
            "tissue": as_recipe(self.tissue),
        }

    def made(self, entry: SlideEntry, product: FoundTissue) -> tuple[Path, ...]:  # noqa: ARG002
        """Mask, outlines, picture, and the mask of others."""
        picture = self.work.qc_picture(entry.slide_id)
        return (*tissue_files(entry, self.tissue, self.work), picture)

    def _step(self, entry: SlideEntry) -> tuple[StatusRow, FoundTissue]:
        with open_slide(
            entry.path,
            self.reading,
            slide_id=entry.slide_id,
            manifest_spacing_um=entry.spacing_um,
        ) as slide:
            found = make_mask(slide, entry, self.tissue, self.work, overwrite=self.overwrite)
            found = draw_without_regions(slide, found, self.work)
            return found.row(entry, slide.geometry.spacing_um, STAGE), found


def segment(
    sources: Sequence[Path],
    *,
    work: WorkFolder,
    reading: ReadingSettings,
    tissue: TissueSettings,
    exclude: Path | None = None,
    overwrite: bool = False,
    running: RunSettings = ALONE,
) -> Iterator[SlideRecord[FoundTissue]]:
    """Finds the tissue of slides, or takes the masks of others.

    Args:
        sources: Slides, folders, manifests.
        work: The work folder.
        reading: Where the slides' spacing comes from.
        tissue: How tissue is found.
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
    job = SegmentJob(work=work, reading=reading, tissue=tissue, overwrite=overwrite)
    try:
        yield from run_job(entries, job, running)
    finally:
        with one_at_a_time(work, "qc"):
            write_qc_page(work)
