from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from hvit_cli.errors import PixelError
from hvit_cli.slides.ahead import Request, read_ahead
from hvit_cli.slides.geometry import ReadingPlan, plan_reading
from hvit_cli.slides.reader import Slide, open_slide

Pixels = npt.NDArray[np.uint8]


def reading_threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("read-ahead")]


@pytest.fixture
def slide(write_slide: Callable[..., Path], noise: Callable[..., Pixels]) -> Iterator[Slide]:
    with open_slide(write_slide(noise(400, 300))) as slide:
        yield slide
    assert reading_threads() == []


def plan_of(slide: Slide) -> ReadingPlan:
    return plan_reading(slide.geometry, 0.5, 0.05)


def some_requests(n: int) -> list[Request]:
    rng = np.random.default_rng(0)
    return [
        (
            (float(rng.uniform(-50, 380)), float(rng.uniform(-50, 280))),
            np.sort(rng.choice(16, int(rng.integers(0, 17)), replace=False)),
        )
        for _ in range(n)
    ]


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("waiting", [1, 3, 50])
def test_pixels_and_order_are_those_of_plain_reading(
    slide: Slide, threads: int, waiting: int
) -> None:
    plan, requests = plan_of(slide), some_requests(20)
    found = read_ahead(slide, plan, requests, patch_px=24, side=4, threads=threads, waiting=waiting)
    for (origin, index), patches in zip(requests, found, strict=True):
        np.testing.assert_array_equal(patches, slide.read_patches(plan, origin, 24, 4, index))


def test_nothing_wanted_is_nothing_read(slide: Slide) -> None:
    found = read_ahead(slide, plan_of(slide), [], patch_px=24, side=4, threads=2, waiting=2)
    assert list(found) == []


@pytest.mark.parametrize(("threads", "waiting"), [(0, 1), (1, 0)])
def test_no_threads_and_no_room_are_refused_at_once(
    slide: Slide, threads: int, waiting: int
) -> None:
    with pytest.raises(ValueError, match="at least one"):
        read_ahead(slide, plan_of(slide), [], patch_px=24, side=4, threads=threads, waiting=waiting)


def test_no_more_than_asked_is_read_ahead(slide: Slide, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[float] = []
    true_read = Slide.read_patches

    def counted(self: Slide, *arguments: object) -> Pixels:
        begun.append(time.monotonic())
        return true_read(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Slide, "read_patches", counted)
    found = read_ahead(
        slide, plan_of(slide), some_requests(20), patch_px=24, side=4, threads=2, waiting=3
    )
    assert begun == []
    for taken in range(1, 6):
        next(found)
        deadline = time.monotonic() + 5
        while len(begun) < taken + 2 and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(0.02)
        assert taken <= len(begun) <= taken + 2
    found.close()  # type: ignore[attr-defined]


def test_closing_ends_the_threads(slide: Slide) -> None:
    found = read_ahead(
        slide, plan_of(slide), some_requests(20), patch_px=24, side=4, threads=3, waiting=4
    )
    next(found)
    assert reading_threads() != []
    found.close()  # type: ignore[attr-defined]
    assert reading_threads() == []


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_comes_at_its_place_and_ends_the_reading(data: Path, threads: int) -> None:
    with open_slide(data / "malformed" / "one_tile_zeroed.svs") as slide:
        plan = plan_of(slide)
        good, bad = (0.0, 0.0), (0.0, 1440.0)
        index = np.arange(4)
        requests = [(good, index), (good, index), (bad, index), (good, index)]
        found = read_ahead(slide, plan, requests, patch_px=120, side=2, threads=threads, waiting=4)
        expected = slide.read_patches(plan, good, 120, 2, index)
        np.testing.assert_array_equal(next(found), expected)
        np.testing.assert_array_equal(next(found), expected)
        with pytest.raises(PixelError, match=r"one_tile_zeroed\.svs: .*level 0, x 0, y 1440"):
            next(found)
        assert next(found, None) is None
    assert reading_threads() == []


@pytest.mark.parametrize("name", ["biopsy_c.tiff", "test3-TRITC_2__560_.ndpi", "dicom_cmu1small"])
def test_every_kind_of_slide_is_read_alike_on_threads(data: Path, name: str) -> None:
    with open_slide(data / "slides" / name) as slide:
        plan = plan_of(slide)
        width, height = slide.geometry.size_level0
        requests = [
            ((width * x, height * y), np.array([0, 1, 5, 6, 15]))
            for y in (0.2, 0.5)
            for x in (0.1, 0.3, 0.6)
        ]
        found = read_ahead(slide, plan, requests, patch_px=64, side=4, threads=3, waiting=6)
        for (origin, index), patches in zip(requests, found, strict=True):
            np.testing.assert_array_equal(patches, slide.read_patches(plan, origin, 64, 4, index))


class Halved(Slide):
    """Halves the patches: a slide whose reading is changed."""

    def read_patches(self, *arguments: object) -> Pixels:
        return super().read_patches(*arguments) // 2  # type: ignore[arg-type]


def test_a_slide_of_another_class_is_read_its_own_way(slide: Slide) -> None:
    other = Halved(slide.path)
    plan, requests = plan_of(slide), some_requests(4)
    found = read_ahead(other, plan, requests, patch_px=24, side=4, threads=2, waiting=2)
    for (origin, index), patches in zip(requests, found, strict=True):
        np.testing.assert_array_equal(patches, slide.read_patches(plan, origin, 24, 4, index) // 2)
    other.close()
