"""The overview picture of one slide, and the page that shows all of them."""

from __future__ import annotations

from dataclasses import replace

from hvit_cli.settings import TilingSettings
from hvit_cli.slides.reader import Slide
from hvit_cli.steps.remade import ALTERED, MISSING, made_again, remarks
from hvit_cli.steps.segment import FoundTissue
from hvit_cli.storage.atomic import write_text
from hvit_cli.storage.pictures import is_unaltered_jpeg, write_jpeg
from hvit_cli.storage.qc import overview_page
from hvit_cli.storage.status import read_status
from hvit_cli.storage.work import WorkFolder
from hvit_cli.tissue.mask import TissueMask
from hvit_cli.tissue.picture import draw_overview
from hvit_cli.tissue.regions import RegionLayout

_MAX_PX = 1600
_JPEG_QUALITY = 85


def draw_without_regions(slide: Slide, found: FoundTissue, work: WorkFolder) -> FoundTissue:
    """Draws a slide's tissue, unless its picture is there and the mask was reused.

    Returns:
        The tissue, with a remark where the picture had to be drawn again.
    """
    why = picture_lacks(slide.slide_id, work)
    if found.mask is None or (found.reused and not why):
        return found
    write_picture(slide, found.mask, work)
    remark = made_again(work, work.qc_picture(slide.slide_id), why) if found.reused else ""
    return replace(found, remark=remarks(found.remark, remark))


def picture_lacks(slide_id: str, work: WorkFolder) -> str:
    """Why a slide's picture must be drawn; "" where it need not."""
    path = work.qc_picture(slide_id)
    if not path.exists():
        return MISSING
    return "" if is_unaltered_jpeg(path) else ALTERED


def write_picture(
    slide: Slide,
    mask: TissueMask,
    work: WorkFolder,
    *,
    layout: RegionLayout | None = None,
    tiling: TilingSettings | None = None,
) -> None:
    """Draws `qc/<slide_id>.jpg`: the slide with its tissue, and its regions where they are laid.

    Raises:
        PixelError: The slide cannot be decoded.
    """
    picture = draw_overview(
        slide.thumbnail(_MAX_PX),
        mask,
        layout,
        title=slide.slide_id,
        background_below=tiling.background_below if tiling else 0.0,
    )
    write_jpeg(work.qc_picture(slide.slide_id), picture, quality=_JPEG_QUALITY)


def write_qc_page(work: WorkFolder) -> None:
    """Writes `qc/index.html` over every slide that was segmented or tiled in the work folder."""
    rows = read_status(work.path)
    pictures = {row.slide_id for row in rows if work.qc_picture(row.slide_id).exists()}
    write_text(work.qc_index, overview_page(rows, pictures))
