"""The slides that were graded worst, their pictures side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, UnidentifiedImageError

from hvit_cli.heatmaps.lettering import typeface
from hvit_cli.slides.entry import names_files
from hvit_cli.storage.atomic import whole_file
from hvit_cli.storage.work import WorkFolder
from hvit_cli.training.measures import Graded

COLUMNS = 5
_TILE_PX = (340, 300)
_CAPTION_PX = 58
_GAP_PX = 12
_TEXT_PX = 15


@dataclass(frozen=True, kw_only=True)
class WorstSlide:
    """One of the largest errors.

    Attributes:
        slide_id: The slide.
        label: What is true.
        grade: What was predicted.
        score: The unrounded score; None where there is none.
        picture: Its heatmap, or its overview; None where there is neither.
    """

    slide_id: str
    label: int
    grade: int
    score: float | None
    picture: Path | None


def worst_slides(slides: Graded, count: int, work: WorkFolder) -> list[WorstSlide]:
    """The slides whose score, or grade, is farthest from the label, the worst first.

    Args:
        slides: Graded slides.
        count: How many, at most; slides without any error are left out.
        work: Where heatmaps and overviews are looked for.
    """
    predicted = slides.score if slides.has_scores else slides.grade.astype(np.float64)
    error = np.abs(predicted - slides.label)
    order = np.lexsort((np.asarray(slides.slide_ids), -error))[:count]
    return [
        WorstSlide(
            slide_id=slides.slide_ids[i],
            label=int(slides.label[i]),
            grade=int(slides.grade[i]),
            score=float(slides.score[i]) if slides.has_scores else None,
            picture=_picture_of(slides.slide_ids[i], work),
        )
        for i in order.tolist()
        if error[i] > 0
    ]


def write_contact_sheet(worst: Sequence[WorstSlide], path: Path) -> list[str]:
    """Draws the slides' pictures with label and grade below each.

    Args:
        worst: The slides, at least one.
        path: The PNG file.

    Returns:
        Slides without a picture, or with one that cannot be read; their place says so.
    """
    columns = min(COLUMNS, len(worst))
    rows = -(-len(worst) // columns)
    step_x, step_y = _TILE_PX[0] + _GAP_PX, _TILE_PX[1] + _CAPTION_PX + _GAP_PX
    size = (columns * step_x + _GAP_PX, rows * step_y + _GAP_PX)
    sheet = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(sheet)
    without = []
    for k, slide in enumerate(worst):
        x, y = _GAP_PX + k % columns * step_x, _GAP_PX + k // columns * step_y
        picture = _thumbnail(slide.picture)
        if picture is None:
            without.append(slide.slide_id)
            pen.text(
                (x + _TILE_PX[0] / 2, y + _TILE_PX[1] / 2),
                "no picture",
                font=typeface(_TEXT_PX, False),
                fill="#888888",
                anchor="mm",
            )
        else:
            left = x + (_TILE_PX[0] - picture.width) // 2
            sheet.paste(picture, (left, y + (_TILE_PX[1] - picture.height) // 2))
        pen.rectangle((x, y, x + _TILE_PX[0], y + _TILE_PX[1]), outline="#cccccc")
        _caption(pen, slide, (x, y + _TILE_PX[1] + 6))
    with whole_file(path) as temporary:
        sheet.save(temporary, format="PNG")
    return without


def _caption(pen: ImageDraw.ImageDraw, slide: WorstSlide, at: tuple[int, int]) -> None:
    score = "" if slide.score is None else f" (score {slide.score:.2f})"
    line = f"label {slide.label}, predicted {slide.grade}{score}"
    pen.text(at, line, font=typeface(_TEXT_PX, True), fill="#222222")
    small = typeface(_TEXT_PX - 3, False)
    name = whole = "".join(letter if letter.isprintable() else " " for letter in slide.slide_id)
    half = min(len(whole) // 2, _TILE_PX[0])
    while half and small.getlength(name) > _TILE_PX[0]:
        # The ends of ids tell slides apart more often than their middles do.
        name = f"{whole[:half]}…{whole[-half:]}"
        half -= 1
    pen.text((at[0], at[1] + _TEXT_PX + 8), name, font=small, fill="#555555")


def _picture_of(slide_id: str, work: WorkFolder) -> Path | None:
    if not names_files(slide_id):
        # Tables of labels name cases, too, and anything else: no picture is called like it.
        return None
    for path in (work.heatmap(slide_id), work.qc_picture(slide_id)):
        if path.is_file():
            return path
    return None


def _thumbnail(path: Path | None) -> Image.Image | None:
    if path is None:
        return None
    try:
        with Image.open(path) as picture:
            picture.draft("RGB", (2 * _TILE_PX[0], 2 * _TILE_PX[1]))
            small = picture.convert("RGB")
    except (OSError, UnidentifiedImageError):
        # Counted with the slides without a picture, whom the command names.
        return None
    small.thumbnail((_TILE_PX[0] - 4, _TILE_PX[1] - 4), Image.Resampling.LANCZOS)
    return small
