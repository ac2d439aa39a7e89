"""`hvit tile`: slides to regions and patches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from hvit_cli.engine.run import SlideRecord, run_slides
from hvit_cli.settings import ReadingSettings, TilingSettings, TissueSettings
from hvit_cli.slides.manifest import SlideEntry, find_slides
from hvit_cli.slides.reader import open_slide
from hvit_cli.steps.picture import write_qc_page
from hvit_cli.steps.tile import FoundRegions, make_tiles
from hvit_cli.storage.status import StatusRow
from hvit_cli.storage.work import WorkFolder

STAGE = "tile"


def tile(
    sources: Sequence[Path],
    *,
    work: WorkFolder,
    reading: ReadingSettings,
    tissue: TissueSettings,
    tiling: TilingSettings,
    exclude: Path | None = None,
    overwrite: bool = False,
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

    Yields:
        A record per slide.

    Raises:
        ManifestError: The slides cannot be listed.
    """
    entries = find_slides(sources, exclude=exclude, mask_pattern=tissue.mask_pattern)

    def step(entry: SlideEntry) -> tuple[StatusRow, FoundRegions]:
        with open_slide(
            entry.path,
            reading,
            slide_id=entry.slide_id,
            manifest_spacing_um=entry.spacing_um,
        ) as slide:
            found = make_tiles(
                slide,
                entry,
                reading=reading,
                tissue=tissue,
                tiling=tiling,
                work=work,
                overwrite=overwrite,
            )
            return found.row(entry, STAGE), found

    try:
        yield from run_slides(entries, step, stage=STAGE, work=work)
    finally:
        write_qc_page(work)
