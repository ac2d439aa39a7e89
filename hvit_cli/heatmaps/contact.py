"""The patches with the highest and the lowest values, side by side, with where they lie."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from hvit_cli.heatmaps.blocks import FAINT_INK, INK, Paragraph
from hvit_cli.heatmaps.figure import watermarked
from hvit_cli.heatmaps.lettering import line_px, typeface
from hvit_cli.heatmaps.maps import PatchMap
from hvit_cli.heatmaps.render import RgbImage, colours

ReadPatch = Callable[[int], RgbImage]
"""Gives the pixels of the patch in a row of the map, (patch_px, patch_px, 3)."""

_COLUMNS = 8


@dataclass(frozen=True, kw_only=True)
class SheetText:
    """What a sheet says.

    Attributes:
        title: Slide and verdict.
        values: What the values are.
        note: What the reader must know.
    """

    title: str
    values: str
    note: str


def extremes(
    patch_map: PatchMap, count: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Rows of the visible patches with the highest values, and with the lowest.

    Highest first and lowest first; equal values in the order of the slide. No patch is in both:
    where fewer than 2 × `count` are visible, the highest are taken first.
    """
    rows = np.flatnonzero(patch_map.visible)
    highest = rows[np.argsort(-patch_map.value[rows], kind="stable")][:count]
    rest = rows[~np.isin(rows, highest)]
    lowest = rest[np.argsort(patch_map.value[rest], kind="stable")][:count]
    return highest, lowest


def contact_sheet(
    patch_map: PatchMap,
    count: int,
    read_patch: ReadPatch,
    words: SheetText,
    *,
    table: RgbImage,
    limits: tuple[float, float],
    side_px: int = 256,
    watermark: str = "",
) -> RgbImage:
    """Draws the foremost and the last patches of a map with value and level-0 position.

    Args:
        patch_map: The values, on the scale that is shown.
        count: Patches of each kind.
        read_patch: Reads a patch at the target spacing.
        words: What stands around them.
        table: (256, 3) colours, for the frame of each patch.
        limits: Values at both ends of the colours.
        side_px: Side of a patch in the sheet.
        watermark: Stamped on the patches, not on what is written under them; or "".

    Returns:
        (height, width, 3) uint8.
    """
    highest, lowest = extremes(patch_map, count)
    em = max(11, side_px // 14)
    margin = em
    columns = max(1, min(_COLUMNS, max(len(highest), len(lowest))))
    width = max(columns * (side_px + margin) + margin, 36 * em)
    parts = [Paragraph(text=words.title, em_px=round(1.3 * em), bold=True)]
    parts += [Paragraph(text=words.values, em_px=em)]
    note = Paragraph(text=words.note, em_px=em, faint=True)
    text_w = width - 2 * margin
    groups = [("highest", highest), ("lowest", lowest)]
    cell_h = side_px + 2 * line_px(typeface(em)) + margin
    group_h = [
        round(1.8 * em) + -(-len(rows) // columns) * cell_h if len(rows) else 0
        for _, rows in groups
    ]
    head_h = sum(part.height_px(text_w) for part in parts) + margin
    height = margin + head_h + sum(group_h) + note.height_px(text_w) + margin
    image = Image.new("RGB", (width, height), (255, 255, 255))
    top = margin
    for part in parts:
        part.draw(image, margin, top, text_w)
        top += part.height_px(text_w)
    top += margin
    for (title, rows), high in zip(groups, group_h, strict=True):
        if len(rows):
            Paragraph(text=title, em_px=em, bold=True).draw(image, margin, top, text_w)
            frame = colours(patch_map.value[rows], table, limits)
            for k, row in enumerate(rows.tolist()):
                line, column = divmod(k, columns)
                corner = (
                    margin + column * (side_px + margin),
                    top + round(1.8 * em) + line * cell_h,
                )
                _draw_patch(image, corner, read_patch(row), side_px, frame[k].tolist())
                _label(image, corner, side_px, em, _said(patch_map, row, k + 1))
            if watermark:
                first = top + round(1.8 * em)
                for y in range(first, first + -(-len(rows) // columns) * cell_h, cell_h):
                    _stamp(image, y, side_px, watermark, em)
        top += high
    note.draw(image, margin, top, text_w)
    return np.asarray(image)


def _stamp(image: Image.Image, top: int, side_px: int, text: str, em: int) -> None:
    line = image.crop((0, top, image.width, top + side_px))
    image.paste(Image.fromarray(watermarked(np.asarray(line), text, em)), (0, top))


def _said(patch_map: PatchMap, row: int, place: int) -> tuple[str, str]:
    value = patch_map.value[row]
    x, y = patch_map.patch_xy_level0[row].tolist()
    number = f"{value:+.3g}" if patch_map.signed else f"{value:.3g}"
    return f"{place}.  {number}", f"x {x}, y {y}"


def _draw_patch(
    image: Image.Image,
    corner: tuple[int, int],
    pixels: RgbImage,
    side_px: int,
    colour: Sequence[int],
) -> None:
    x, y = corner
    patch = Image.fromarray(pixels)
    if patch.size != (side_px, side_px):
        patch = patch.resize((side_px, side_px), Image.Resampling.LANCZOS)
    image.paste(patch, corner)
    thick = max(3, side_px // 50)
    box = (x - thick, y - thick, x + side_px + thick - 1, y + side_px + thick - 1)
    ImageDraw.Draw(image).rectangle(box, outline=tuple(colour), width=thick)


def _label(
    image: Image.Image,
    corner: tuple[int, int],
    side_px: int,
    em: int,
    lines: tuple[str, str],
) -> None:
    pen = ImageDraw.Draw(image)
    top = corner[1] + side_px + em // 3
    for text, bold, ink in zip(lines, (True, False), (INK, FAINT_INK), strict=True):
        pen.text((corner[0], top), text, font=typeface(em, bold), fill=ink)
        top += line_px(typeface(em))
