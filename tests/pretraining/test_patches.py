from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from hvit_cli.errors import SlideError
from hvit_cli.pretraining.patches import SlidePatches
from hvit_cli.pretraining.pool import PatchPool
from hvit_cli.settings import ReadingSettings
from hvit_cli.slides.reader import Slide

WritePool = Callable[..., PatchPool]


def expected(pool: PatchPool, patch: int) -> np.ndarray:
    """The noise that the fixture drew, cut by hand."""
    slide, inside = pool.locate(patch)
    columns = -(-len(pool.slides[slide].origin_level0) // 2)
    noise = np.random.default_rng(slide).integers(0, 256, (64, columns * 32, 3), dtype=np.uint8)
    column, row = divmod(inside, 2)
    return noise[row * 32 : row * 32 + 32, column * 32 : column * 32 + 32]


def test_patches_are_numbered_slide_after_slide(write_pool: WritePool) -> None:
    pool = write_pool()
    assert len(pool) == 22
    assert [pool.locate(n) for n in (0, 5, 6, 17, 18, 21)] == [
        (0, 0), (0, 5), (1, 0), (1, 11), (2, 0), (2, 3),
    ]  # fmt: skip


def test_a_patch_costs_sixteen_bytes(write_pool: WritePool) -> None:
    pool = write_pool()
    assert sum(slide.origin_level0.nbytes for slide in pool.slides) == 16 * len(pool)


def test_every_patch_is_that_of_its_slide_from_any_thread(write_pool: WritePool) -> None:
    pool = write_pool()
    reader = SlidePatches(pool, ReadingSettings(), open_slides=2)
    numbers = np.random.default_rng(0).permutation(np.repeat(np.arange(len(pool)), 4))
    with ThreadPoolExecutor(4) as threads:
        for patch, pixels in zip(numbers, threads.map(reader.read, numbers), strict=True):
            assert np.array_equal(pixels, expected(pool, int(patch)))
    reader.close()


def test_no_more_slides_stay_open_than_allowed(
    write_pool: WritePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[str] = []
    close = Slide.close

    def noted(slide: Slide) -> None:
        closed.append(slide.slide_id)
        close(slide)

    pool = write_pool()
    monkeypatch.setattr(Slide, "close", noted)
    reader = SlidePatches(pool, ReadingSettings(), open_slides=2)
    for patch in (0, 6, 0, 18, 0):
        reader.read(patch)
    # s1 was longest unused when the third slide was put back.
    assert closed == ["s1"]
    reader.close()
    assert sorted(closed) == ["s0", "s1", "s2"]


def test_a_slide_that_fails_is_closed_and_opened_anew(write_pool: WritePool) -> None:
    pool = write_pool()
    reader = SlidePatches(pool, ReadingSettings())
    path = pool.slides[0].path
    content = path.read_bytes()
    path.write_bytes(b"")
    with pytest.raises(SlideError, match="empty"):
        reader.read(0)
    path.write_bytes(content)
    assert np.array_equal(reader.read(0), expected(pool, 0))
    reader.close()
