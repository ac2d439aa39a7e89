from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from hvit_cli.heatmaps.blocks import (
    Abreast,
    ColourBar,
    Flow,
    Key,
    Paragraph,
    ScaleBar,
    nice_length_um,
)
from hvit_cli.heatmaps.layout import FigureText, choose_layout, em_px
from hvit_cli.heatmaps.lettering import line_px, typeface, wrap
from hvit_cli.heatmaps.render import colour_table

SLIDES = [(22400, 4000), (8000, 9000), (2220, 2967), (12000, 6000), (500, 60000), (60000, 500)]


def words(panels: int, em: int) -> FigureText:
    text = "Patches without tissue were hidden from the model and have no colour. " * 4
    return FigureText(
        header=Flow(blocks=[Paragraph(text="a_long_slide_id_" * 5, em_px=em)], gap_px=em // 4),
        footer=Flow(blocks=[Paragraph(text=text, em_px=em, faint=True)], gap_px=em // 4),
        titles=tuple(Paragraph(text="masked attention · grade 2", em_px=em) for _ in range(panels)),
    )


@pytest.mark.parametrize("size", SLIDES)
@pytest.mark.parametrize("panels", [1, 2, 3])
@pytest.mark.parametrize("max_px", [480, 1024, 2048])
def test_every_shape_of_slide_fits_and_is_as_large_as_can_be(
    size: tuple[int, int], panels: int, max_px: int
) -> None:
    layout = choose_layout(size, words(panels, em_px(max_px)), max_px)
    assert layout is not None
    assert max_px - 4 <= max(layout.size_px) <= max_px
    width, height = layout.panel_px
    assert width / height == pytest.approx(size[0] / size[1], rel=0.6 / min(width, height))


def test_panels_are_never_larger_than_the_slide() -> None:
    layout = choose_layout((600, 400), words(1, em_px(4000)), 4000)
    assert layout is not None
    assert layout.panel_px == (600, 400)


def test_panels_of_a_long_slide_are_stacked_and_those_of_a_tall_one_stand_side_by_side() -> None:
    long = choose_layout((22400, 4000), words(3, 20), 1600)
    tall = choose_layout((4000, 9000), words(3, 20), 1600)
    assert long is not None
    assert tall is not None
    assert long.columns == 1
    assert tall.columns == 3


def test_there_is_no_layout_where_the_text_alone_is_too_large() -> None:
    assert choose_layout((100, 100), words(1, 80), 400) is None


def test_wrapped_lines_fit_and_lose_no_letter() -> None:
    font = typeface(20)
    text = "short words and_one_word_that_is_much_longer_than_any_line_could_ever_be µ × end"
    lines = wrap(text, font, 150)
    assert all(font.getlength(line) <= 150 for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert wrap("", font, 100) == []


def ink_box(block, width: int) -> tuple[int, int, int, int]:
    """Where a block draws, on a sheet with room on all sides."""
    sheet = Image.new("RGB", (width + 200, 900), (255, 255, 255))
    block.draw(sheet, 100, 100, width)
    drawn = np.asarray(sheet).min(axis=-1) < 255
    rows, columns = np.flatnonzero(drawn.any(axis=1)), np.flatnonzero(drawn.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


@pytest.mark.parametrize("em", [11, 16, 30])
@pytest.mark.parametrize("width", [300, 520])
def test_every_block_stays_in_the_box_that_it_announces(em: int, width: int) -> None:
    bar = ColourBar(
        label="attention, relative within region (1 = uniform), mean of 6 heads",
        table=colour_table("viridis"),
        limits=(0, 3),
        clipped=(True, True),
        opacity=0.5,
        em_px=em,
    )
    scale = ScaleBar(um_per_px=5.3, longest_px=9 * em, em_px=em)
    blocks = [
        Paragraph(text="Ägypten, quite a lot of words in a row gjpqy", em_px=em),
        bar,
        scale,
        Key(kind="hatched", text="tissue outside the regions, not looked at", em_px=em),
        Abreast(blocks=[(bar, 300), (scale, 10 * em)], gap_px=em),
    ]
    for block in [*blocks, Flow(blocks=blocks, gap_px=em // 2)]:
        left, top, right, bottom = ink_box(block, width)
        assert (left, top) >= (100, 100)
        assert right <= 100 + width
        assert bottom <= 100 + block.height_px(width) + 1


def test_text_heights_follow_the_letters() -> None:
    one = Paragraph(text="one line", em_px=20)
    assert one.height_px(500) == line_px(typeface(20))


@pytest.mark.parametrize(
    ("longest", "expected"), [(999, 500), (1000, 1000), (23, 20), (0.7, 0.5), (4999, 2000)]
)
def test_scale_bars_have_round_lengths(longest: float, expected: float) -> None:
    assert nice_length_um(longest) == pytest.approx(expected)


def test_a_scale_bar_is_as_long_as_it_says() -> None:
    bar = ScaleBar(um_per_px=4.0, longest_px=300, em_px=20)
    assert bar.text == "1 mm"
    assert bar.length_px == 250
    sheet = Image.new("RGB", (400, 100), (255, 255, 255))
    bar.draw(sheet, 10, 10, 300)
    rows = (np.asarray(sheet).max(axis=-1) < 60).sum(axis=1)
    assert rows.max() == 250
    assert ScaleBar(um_per_px=1.0, longest_px=120, em_px=20).text == "100 µm"


@pytest.mark.parametrize("limits", [(0.0, 3.0), (-0.0023, 0.0023), (0.389, 3.57), (0.0, 1.0)])
@pytest.mark.parametrize("bar_px", [90, 180, 400])
def test_values_under_a_colour_bar_stand_apart_and_both_ends_are_named(limits, bar_px) -> None:
    bar = ColourBar(
        label="attention",
        table=colour_table("viridis"),
        limits=limits,
        clipped=(False, True),
        opacity=0.5,
        em_px=15,
    )
    font = typeface(15)
    texts = bar._ticks(font, bar_px)
    assert texts[-1].startswith("≥ ")
    if len(texts) > 2:
        ends = 0.0
        for number, text in enumerate(texts):
            wide = font.getlength(text)
            middle = round(number / (len(texts) - 1) * (bar_px - 1))
            start = min(max(middle - wide / 2, 0), bar_px - wide)
            assert start >= ends + (7 if number else 0)
            ends = start + wide
    if bar_px == 400:
        assert len(texts) >= 3
        if limits[0] < 0:
            assert texts[len(texts) // 2] == "0"
