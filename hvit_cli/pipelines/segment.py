"""`hvit segment`: slides to tissue masks, outlines and overviews."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from hvit_cli.engine.run import SlideRecord, run_slides
from hvit_cli.settings import ReadingSettings, TissueSettings
from hvit_cli.slides.manifest import SlideEntry, find_slides
from hvit_cli.slides.reader import open_slide
from hvit_cli.steps.picture import draw_without_regions, write_qc_page
from hvit_cli.steps.segment import FoundTissue, make_mask
from hvit_cli.storage.status import StatusRow
from hvit_cli.storage.work import WorkFolder

STAGE = "segment"


def segment(
    sources: Sequence[Path],
    *,
    work: WorkFolder,
    reading: ReadingSettings,
    tissue: TissueSettings,
    exclude: Path | None = None,
    overwrite: bool = False,
) -> Iterator[SlideRecord[FoundTissue]]:
    """Finds the tissue of slides, or takes the masks of others.

    Args:
        sources: Slides, folders, manifests.
        work: The work folder.
        reading: Where the slides' spacing comes from.
        tissue: How tissue is found.
        exclude: Table of slides to leave out.
        overwrite: Make products again that exist with other settings.

    Yields:
        A record per slide.

    Raises:
        ManifestError: The slides cannot be listed.
    """
    entries = find_slides(sources, exclude=exclude, mask_pattern=tissue.mask_pattern)

    def step(entry: SlideEntry) -> tuple[StatusRow, FoundTissue]:
        with open_slide(
            entry.path,
            reading,
            slide_id=entry.slide_id,
            manifest_spacing_um=entry.spacing_um,
        ) as slide:
            found = make_mask(slide, entry, tissue, work, overwrite=overwrite)
            draw_without_regions(slide, found, work)
            return found.row(entry, slide.geometry.spacing_um, STAGE), found

    try:
        yield from run_slides(entries, step, stage=STAGE, work=work)
    finally:
        write_qc_page(work)
