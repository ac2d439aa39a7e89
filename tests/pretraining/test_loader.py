from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from hvit_cli.errors import PixelError, UsageError
from hvit_cli.pretraining.augment import Augmentation
from hvit_cli.pretraining.loader import PatchLoader
from hvit_cli.pretraining.order import PatchOrder
from hvit_cli.pretraining.patches import SlidePatches
from hvit_cli.pretraining.pool import PatchPool, PoolSlide
from hvit_cli.settings import AugmentationSettings, CropSettings, ReadingSettings
from hvit_cli.slides.reader import open_slide
from hvit_cli.training.workers import ALONE, Workers

WritePool = Callable[..., PatchPool]
CPU = torch.device("cpu")


def loader(
    pool: PatchPool, batch: int = 8, workers: Workers = ALONE, threads: int = 1, seed: int = 0
) -> PatchLoader:
    augmentation = Augmentation(
        crops=CropSettings(global_px=16, local_px=8, local_crops=2),
        changes=AugmentationSettings(),
        patch_px=pool.patch_px,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        seed=seed,
    )
    return PatchLoader(
        SlidePatches(pool, ReadingSettings()),
        PatchOrder(pool.first, seed),
        augmentation,
        batch=batch,
        workers=workers,
        threads=threads,
    )


def batches(source: PatchLoader, steps: range) -> list[tuple[Tensor, ...]]:
    made = []
    for batch in source.batches(steps):
        views = batch.to(CPU).views
        assert all(isinstance(view, Tensor) for view in views)
        made.append(tuple(view for view in views if isinstance(view, Tensor)))
    source.close()
    return made


def equal(left: list[tuple[Tensor, ...]], right: list[tuple[Tensor, ...]]) -> bool:
    return len(left) == len(right) and all(
        torch.equal(a, b)
        for one, other in zip(left, right, strict=True)
        for a, b in zip(one, other, strict=True)
    )


def test_batches_depend_on_seed_and_step_and_not_on_threads(write_pool: WritePool) -> None:
    pool = write_pool()
    alone = batches(loader(pool), range(7))
    assert [view.shape for view in alone[0]] == [(16, 3, 16, 16), (16, 3, 8, 8)]
    assert equal(alone, batches(loader(pool, threads=3), range(7)))
    assert not equal(alone, batches(loader(pool, seed=1), range(7)))


def test_a_resumed_run_sees_what_the_whole_run_sees(write_pool: WritePool) -> None:
    pool = write_pool()
    whole = batches(loader(pool), range(9))
    assert equal(whole[4:], batches(loader(pool, threads=2), range(4, 9)))


@pytest.mark.parametrize("count", [2, 3])
def test_processes_divide_the_batch_among_them(write_pool: WritePool, count: int) -> None:
    pool = write_pool()
    (whole,) = batches(loader(pool), range(3, 4))
    crops = whole[0].unflatten(0, (2, 8))
    for rank in range(count):
        workers = Workers(rank=rank, count=count)
        (share,) = batches(loader(pool, workers=workers), range(3, 4))
        assert torch.equal(share[0].unflatten(0, (2, -1)), crops[:, rank::count])


def test_a_process_without_a_share_of_a_small_batch_gets_an_empty_one(
    write_pool: WritePool,
) -> None:
    source = loader(write_pool(), batch=2, workers=Workers(rank=2, count=3))
    (batch,) = source.batches(range(1))
    source.close()
    views = batch.to(CPU).views
    assert batch.size == 0
    assert [tuple(view.shape) for view in views if isinstance(view, Tensor)] == [
        (0, 3, 16, 16),
        (0, 3, 8, 8),
    ]


def test_an_interrupted_reader_leaves_no_thread_and_opencv_as_it_was(
    write_pool: WritePool,
) -> None:
    before = cv2.getNumThreads()
    source = loader(write_pool(), threads=2)
    assert cv2.getNumThreads() == 1
    stream = source.batches(range(1000))
    next(stream)
    stream.close()
    source.close()
    assert cv2.getNumThreads() == before
    assert not any(t.name.startswith("hvit-crops") for t in threading.enumerate())


def test_too_few_patches_for_a_batch_name_the_option(write_pool: WritePool) -> None:
    with pytest.raises(UsageError) as refused:
        loader(write_pool(), batch=23)
    assert str(refused.value) == (
        "--batch: there are too few tissue patches for a batch; found 22 patches on 3 slides; "
        "wanted at least 23; try a smaller --batch, or more slides"
    )


def test_a_slide_that_dies_is_named_and_its_patches_replaced_the_same_way_always(
    write_pool: WritePool,
) -> None:
    pool = write_pool()
    sound = batches(loader(pool), range(4))
    pool.slides[1].path.unlink()
    source = loader(pool, threads=3)
    broken = batches(source, range(4))
    assert list(source.skipped) == ["s1"]
    assert "no such file" in source.skipped["s1"]
    assert source.replaced["s1"] >= 12
    assert [view.shape for view in broken[0]] == [view.shape for view in sound[0]]
    assert equal(broken, batches(loader(pool), range(4)))
    # Resumed at step 2, before which this process has met no dead slide.
    assert equal(broken[2:], batches(loader(pool), range(2, 4)))
    # What could be read stays as it was.
    order = PatchOrder(pool.first, 0)
    for place, patch in enumerate(order.patches(0, 8)):
        same = torch.equal(broken[0][0][place], sound[0][0][place])
        assert same == (pool.locate(int(patch))[0] != 1)


def test_when_all_slides_are_dead_the_run_ends_with_one_line(write_pool: WritePool) -> None:
    pool = write_pool()
    for slide in pool.slides:
        slide.path.unlink()
    source = loader(pool)
    with pytest.raises(PixelError, match=r"none of 65 patches .* no such file"):
        next(source.batches(range(1)))
    source.close()


def test_patches_on_a_damaged_tile_of_a_real_slide_are_replaced(data: Path) -> None:
    damaged = data / "malformed" / "one_tile_zeroed.svs"
    with open_slide(damaged) as slide:
        reading = ReadingSettings(spacing_um=slide.geometry.spacing_um)
        plan, (width, height) = slide.plan(reading), slide.geometry.size_level0
    x, y = np.meshgrid(np.arange(0, width - 127, 128.0), np.arange(0, height - 127, 128.0))
    entry = PoolSlide(
        slide_id="one_tile_zeroed",
        path=damaged,
        manifest_spacing_um=None,
        plan=plan,
        origin_level0=np.stack([x.ravel(), y.ravel()], axis=1),
        recipe={"settings": {}, "inputs": {}},
    )
    pool = PatchPool(slides=(entry,), patch_px=128)
    source = loader(pool, batch=len(pool), threads=2)
    ((large, _),) = batches(source, range(1))
    assert len(large) == 2 * len(pool)
    assert "cannot be decoded" in source.skipped["one_tile_zeroed"]
    assert 0 < source.replaced["one_tile_zeroed"] < len(pool) / 2
