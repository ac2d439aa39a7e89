from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import openslide
import pytest

from hvit_cli.errors import TissueError
from hvit_cli.settings import ReadingSettings, TissueSettings
from hvit_cli.slides.reader import open_slide
from hvit_cli.tissue.segmentation import segment, segment_slide, segment_tissue

Rgb = npt.NDArray[np.uint8]
Draw = Callable[..., Rgb]

SETTINGS = TissueSettings()
SPACING_UM = 8.0
CORE = (40, 40, 200, 100)
STAIN = (205, 130, 185)
# Side of a 2048 px region at 0.5 µm, and the least tissue that makes a region of it.
REGION_UM, LEAST_FRACTION = 1024, 0.10


def inside(box: tuple[int, int, int, int], side: int = 256) -> npt.NDArray[np.bool_]:
    left, top, right, bottom = box
    pixels = np.zeros((side, side), bool)
    pixels[top:bottom, left:right] = True
    return pixels


def fullest_region(tissue: Rgb, spacing_um: float) -> float:
    """The largest tissue fraction of any region-sized window, wherever it is put."""
    side = max(int(REGION_UM / spacing_um), 1)
    padded = np.pad(tissue, side).astype(np.float32)
    return float(cv2.blur(padded, (side, side)).max())


def dice(a: npt.NDArray[np.bool_], b: npt.NDArray[np.bool_]) -> float:
    return 2 * float((a & b).sum()) / float(a.sum() + b.sum())


def test_a_core_on_glass_is_found_to_the_pixel(drawn: Draw) -> None:
    tissue = segment_tissue(drawn((CORE, STAIN)), SPACING_UM, SETTINGS)
    assert dice(tissue > 0, inside(CORE)) > 0.99


@pytest.mark.parametrize(
    "glass",
    [(255, 255, 255), (243, 243, 243), (200, 200, 200), (244, 240, 228), (236, 238, 248)],
    ids=["white", "pale grey", "grey", "warm lamp", "cold lamp"],
)
def test_glass_of_any_tone_is_no_tissue(drawn: Draw, glass: tuple[int, int, int]) -> None:
    assert not segment_tissue(drawn(glass=glass), SPACING_UM, SETTINGS).any()
    with_core = segment_tissue(drawn((CORE, (190, 110, 170)), glass=glass), SPACING_UM, SETTINGS)
    assert dice(with_core > 0, inside(CORE)) > 0.98


def test_grey_padding_beside_white_glass_is_no_tissue(drawn: Draw) -> None:
    picture = drawn((CORE, STAIN), ((0, 150, 256, 256), (214, 214, 214)), glass=(255, 255, 255))
    tissue = segment_tissue(picture, SPACING_UM, SETTINGS)
    assert dice(tissue > 0, inside(CORE)) > 0.99


def test_black_padding_is_no_tissue(drawn: Draw) -> None:
    picture = drawn((CORE, STAIN), ((0, 150, 256, 256), (4, 2, 2)))
    tissue = segment_tissue(picture, SPACING_UM, SETTINGS)
    assert dice(tissue > 0, inside(CORE)) > 0.99


@pytest.mark.parametrize("signal", [(200, 20, 10), (10, 190, 30), (40, 40, 220), (160, 20, 160)])
def test_fluorescence_on_black_is_no_tissue_and_says_so(
    drawn: Draw, signal: tuple[int, int, int]
) -> None:
    found = segment(drawn((CORE, signal), glass=(5, 3, 3)), SPACING_UM, SETTINGS)
    assert not found.tissue.any()
    assert "dark background" in found.note


def test_a_pale_edge_is_not_lost_beside_strong_stain(drawn: Draw) -> None:
    # Otsu's threshold on strongly stained tissue lies near saturation 0.25; the pale edge has
    # 0.10, and a usual segmentation cuts it off.
    strong, pale = (170, 60, 150), (242, 218, 234)
    edge = (200, 40, 220, 100)
    tissue = segment_tissue(drawn((CORE, strong), (edge, pale)), SPACING_UM, SETTINGS)
    assert tissue[inside(edge)].mean() > 0.95


def test_a_slide_of_pale_tissue_alone_is_found(drawn: Draw) -> None:
    tissue = segment_tissue(drawn((CORE, (242, 220, 234))), SPACING_UM, SETTINGS)
    assert dice(tissue > 0, inside(CORE)) > 0.98


def test_a_dark_fold_is_tissue(drawn: Draw) -> None:
    fold = (100, 40, 112, 100)
    tissue = segment_tissue(drawn((CORE, STAIN), (fold, (110, 50, 105))), SPACING_UM, SETTINGS)
    assert tissue[inside(fold)].all()


def test_lumina_count_as_tissue_and_the_glass_inside_a_ring_does_not(drawn: Draw) -> None:
    lumen, cavity = (60, 60, 80, 80), (100, 60, 180, 90)  # 0.026 and 0.154 mm²
    picture = drawn((CORE, STAIN), (lumen, (243, 243, 243)), (cavity, (243, 243, 243)))
    tissue = segment_tissue(picture, SPACING_UM, SETTINGS)
    assert tissue[inside(lumen)].all()
    assert tissue[70:80, 120:160].sum() == 0


INKS = {
    "green": (40, 160, 130),
    "blue": (40, 60, 170),
    "cyan": (60, 170, 200),
    "red": (215, 30, 35),
    "black": (25, 25, 28),
    "yellow": (225, 210, 60),
}


@pytest.mark.parametrize("ink", INKS.values(), ids=INKS)
def test_a_stroke_is_no_tissue_and_what_it_crosses_stays(
    drawn: Draw, ink: tuple[int, int, int]
) -> None:
    stroke = (110, 0, 130, 256)
    found = segment(drawn((CORE, STAIN), (stroke, ink)), SPACING_UM, SETTINGS)
    around = inside((106, 0, 134, 256))
    assert not found.tissue[inside(stroke)].any()
    assert found.pen[inside(stroke)].mean() > 0.95
    assert found.tissue[inside(CORE) & ~around].mean() > 0.99
    assert not found.tissue[~inside(CORE) & ~around].any()


@pytest.mark.parametrize("ink", INKS.values(), ids=INKS)
def test_ink_alone_on_glass_is_no_tissue_even_where_it_is_blurred(
    drawn: Draw, ink: tuple[int, int, int]
) -> None:
    picture = cv2.GaussianBlur(drawn(((90, 90, 150, 150), ink)), (0, 0), 4)
    tissue = segment_tissue(np.asarray(picture, np.uint8), SPACING_UM, SETTINGS)
    assert fullest_region(tissue, SPACING_UM) < LEAST_FRACTION


def test_a_vessel_full_of_blood_is_no_pen_mark(drawn: Draw) -> None:
    vessel = (100, 60, 112, 72)  # 0.009 mm²
    found = segment(drawn((CORE, STAIN), (vessel, (190, 40, 55))), SPACING_UM, SETTINGS)
    assert found.tissue[inside(vessel)].all()
    assert not found.pen.any()


def test_wrongly_decoded_colours_are_refused_and_the_background_is_named(drawn: Draw) -> None:
    picture = drawn((CORE, (60, 150, 140)), glass=(246, 128, 128))
    with pytest.raises(TissueError, match=r"background is coloured.*RGB 24"):
        segment(picture, SPACING_UM, SETTINGS)


def test_a_slide_that_is_all_tissue_is_not_taken_for_coloured_glass(drawn: Draw) -> None:
    assert segment_tissue(drawn(((0, 0, 256, 256), STAIN)), SPACING_UM, SETTINGS).all()


def test_specks_and_scratches_are_no_tissue(drawn: Draw) -> None:
    speck, scratch = (20, 20, 28, 28), (0, 200, 256, 203)
    picture = drawn((speck, STAIN), (scratch, (120, 60, 110)))
    assert not segment_tissue(picture, SPACING_UM, SETTINGS).any()


@pytest.mark.parametrize("name", ["biopsy_a", "biopsy_b", "biopsy_c"])
def test_biopsies_agree_with_their_exact_masks(data: Path, name: str) -> None:
    with open_slide(data / "slides" / f"{name}.tiff") as slide:
        found = segment_slide(slide, SETTINGS).pixels
    exact = openslide.OpenSlide(data / "masks" / f"{name}_mask.tiff")
    truth = np.asarray(exact.read_region((0, 0), 1, exact.level_dimensions[1]))[..., 0] > 0
    shape = (truth.shape[1], truth.shape[0])
    enlarged = cv2.resize(found, shape, interpolation=cv2.INTER_NEAREST) > 0
    assert dice(enlarged, truth) >= 0.97


@pytest.mark.parametrize("spacing_um", [0.5, 1.0, 2.0, 4.0, 8.0])
@pytest.mark.parametrize(
    "name",
    [
        "almost-white-1",
        "no-tissue",
        "no-tissue2",
        "no-tissue-line",
        "no-tissue-green-pen",
        "no-tissue-red-pen",
    ],
)
def test_pictures_without_tissue_hold_none_that_makes_a_region(
    data: Path, name: str, spacing_um: float
) -> None:
    with open_slide(
        data / "images" / f"{name}.png", ReadingSettings(spacing_override=spacing_um)
    ) as slide:
        mask = segment_slide(slide, SETTINGS)
    assert fullest_region(mask.pixels, mask.spacing_um) < LEAST_FRACTION


def test_the_fluorescence_slide_holds_no_tissue(data: Path) -> None:
    with open_slide(data / "slides" / "test3-TRITC_2__560_.ndpi") as slide:
        mask = segment_slide(slide, SETTINGS)
    assert mask.is_empty
    assert "dark background" in mask.note


# Shares of the picture that were marked by eye: what is tissue, what is ink.
@pytest.mark.parametrize(
    ("name", "least_tissue", "ink_xy"),
    [
        ("tcga-green-pen", 0.70, [(0.55, 0.1), (0.45, 0.5), (0.30, 0.9)]),
        ("tcga-red-pen", 0.55, [(0.20, 0.5), (0.25, 0.7)]),
        ("medium-nuclei-score-green-pen-level1", 0.30, [(0.8, 0.3), (0.4, 0.2)]),
        ("high-nuclei-score-red-pen-level1", 0.80, [(0.57, 0.4)]),
    ],
)
def test_tissue_beside_ink_is_kept_and_the_ink_is_not(
    data: Path, name: str, least_tissue: float, ink_xy: list[tuple[float, float]]
) -> None:
    with open_slide(
        data / "images" / f"{name}.png", ReadingSettings(spacing_override=4.0)
    ) as slide:
        mask = segment_slide(slide, SETTINGS)
    assert mask.pixels.mean() > least_tissue
    assert mask.pen_mm2 > 0
    height, width = mask.pixels.shape
    for x, y in ink_xy:
        assert mask.pixels[int(y * height), int(x * width)] == 0


def test_grey_glass_around_the_gleason_fields_is_no_tissue(data: Path) -> None:
    with open_slide(data / "slides" / "prostate_gleason_0.5um.tif") as slide:
        mask = segment_slide(slide, SETTINGS)
    # Eleven of twelve cells of 1201 px on a grid of 4 × 3 from (1024, 1024) are fields.
    per_px = np.asarray(mask.level0_per_px)
    field = np.zeros(mask.pixels.shape, bool)
    for cell in range(11):
        corner = np.asarray([cell % 4, cell // 4]) * 1201 + 1024
        (left, top), (right, bottom) = (corner / per_px, (corner + 1201) / per_px)
        field[round(top) : round(bottom), round(left) : round(right)] = True
    assert dice(mask.pixels > 0, field) > 0.98


def test_the_dicom_slide_with_wrong_colours_is_refused_by_name(data: Path) -> None:
    with (
        open_slide(data / "slides" / "dicom_cmu1small") as slide,
        pytest.raises(TissueError, match=r"dicom_cmu1small.*coloured"),
    ):
        segment_slide(slide, SETTINGS)


def test_the_whole_fields_are_tissue(data: Path) -> None:
    for name, least in (("prostate_tcga_0.25um.tif", 0.95), ("prostate_benign_0.5um.tif", 0.85)):
        with open_slide(data / "slides" / name) as slide:
            assert segment_slide(slide, SETTINGS).pixels.mean() > least
