from __future__ import annotations

import dataclasses
import shutil
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from hvit_cli.errors import DamagedFileError, PixelError, RecipeError, StorageError
from hvit_cli.pretraining.cache import CachedPatches, build_cache, cache_file
from hvit_cli.pretraining.patches import SlidePatches
from hvit_cli.pretraining.pool import PatchPool
from hvit_cli.settings import ReadingSettings
from hvit_cli.storage.arrays import read_arrays

WritePool = Callable[..., PatchPool]
READING = ReadingSettings()
Usage = namedtuple("Usage", "total used free")


def test_the_cache_gives_what_the_slides_give(write_pool: WritePool, tmp_path: Path) -> None:
    pool = write_pool((6, 70))
    records = list(build_cache(pool, tmp_path / "c", READING))
    assert [(r.number, r.total, r.status, r.patches) for r in records] == [
        (1, 2, "made", 6),
        (2, 2, "made", 70),
    ]
    slides, cache = SlidePatches(pool, READING), CachedPatches(pool, tmp_path / "c")
    for patch in range(len(pool)):
        assert np.array_equal(cache.read(patch), slides.read(patch))
    slides.close()
    cache.close()


def test_its_files_are_whole_with_checksums_and_documented_arrays(
    write_pool: WritePool, tmp_path: Path
) -> None:
    pool = write_pool((70,))
    list(build_cache(pool, tmp_path / "c", READING))
    # read_arrays verifies every checksum; the pixels were written in two blocks.
    arrays, attributes = read_arrays(tmp_path / "c" / "s0.h5", "hvit-patches", 1)
    assert arrays["pixels"].shape == (70, 32, 32, 3)
    assert np.array_equal(arrays["origin_level0"], pool.slides[0].origin_level0)
    assert arrays["readable"].all()
    assert (attributes["slide_id"], attributes["patch_px"]) == ("s0", 32)


def test_a_killed_build_goes_on_with_the_slide_it_was_at(
    write_pool: WritePool, tmp_path: Path
) -> None:
    pool = write_pool()
    build = build_cache(pool, tmp_path / "c", READING)
    next(build)
    build.close()
    with pytest.raises(StorageError, match="no such file"):
        CachedPatches(pool, tmp_path / "c")
    again = list(build_cache(pool, tmp_path / "c", READING))
    assert [record.status for record in again] == ["reused", "made", "made"]
    assert sorted(p.name for p in (tmp_path / "c").iterdir()) == ["s0.h5", "s1.h5", "s2.h5"]


def test_a_build_that_breaks_off_within_a_slide_leaves_nothing_of_it(
    write_pool: WritePool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(self: SlidePatches, patch: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(SlidePatches, "read", stopped)
        with pytest.raises(KeyboardInterrupt):
            list(build_cache(write_pool(), tmp_path / "c", READING))
    assert list((tmp_path / "c").iterdir()) == []


def test_a_cache_of_another_recipe_names_the_fields(write_pool: WritePool, tmp_path: Path) -> None:
    pool = write_pool((6,))
    list(build_cache(pool, tmp_path / "c", READING))
    (slide,) = pool.slides
    other = dataclasses.replace(
        slide, recipe={"settings": {"tiling": {"patch_px": 16}}, "inputs": {"n": 9}}
    )
    changed = PatchPool(slides=(other,), patch_px=32)
    with pytest.raises(RecipeError, match=r"inputs\.n: 0 → 9; .*tiling\.patch_px: 32 → 16"):
        CachedPatches(changed, tmp_path / "c")
    with pytest.raises(RecipeError, match="--overwrite"):
        list(build_cache(changed, tmp_path / "c", READING))
    (record,) = build_cache(changed, tmp_path / "c", READING, overwrite=True)
    assert record.status == "made"
    CachedPatches(changed, tmp_path / "c").close()


def test_a_truncated_file_is_refused_and_made_again(write_pool: WritePool, tmp_path: Path) -> None:
    pool = write_pool((6,))
    list(build_cache(pool, tmp_path / "c", READING))
    path = cache_file(tmp_path / "c", pool.slides[0])
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(DamagedFileError):
        CachedPatches(pool, tmp_path / "c")
    (record,) = build_cache(pool, tmp_path / "c", READING)
    assert (record.status, record.remark.split(",")[0]) == ("made", "s0.h5 made again")


def test_a_file_that_was_never_finished_is_refused(write_pool: WritePool, tmp_path: Path) -> None:
    pool = write_pool((6,))
    list(build_cache(pool, tmp_path / "c", READING))
    with h5py.File(tmp_path / "c" / "s0.h5", "a") as file:
        file.attrs["complete"] = False
    with pytest.raises(DamagedFileError, match="never finished"):
        CachedPatches(pool, tmp_path / "c")


def test_a_full_disk_is_said_before_anything_is_written(
    write_pool: WritePool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = write_pool((6,))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**12, 10**12, 10_000))
    with pytest.raises(StorageError, match=r"no room .* found 0\.0 GB free; wanted 0\.0 GB"):
        list(build_cache(pool, tmp_path / "c", READING))
    assert not (tmp_path / "c").exists()
    many = dataclasses.replace(pool.slides[0], origin_level0=np.zeros((10**6, 2)))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**12, 0, 2 * 10**9))
    with pytest.raises(StorageError, match=r"found 2\.0 GB free; wanted 3\.1 GB"):
        list(build_cache(PatchPool(slides=(many,), patch_px=32), tmp_path / "c", READING))


def test_what_the_slide_refuses_the_cache_refuses_too(
    write_pool: WritePool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = write_pool((6,))
    read = SlidePatches.read

    def damaged(self: SlidePatches, patch: int) -> np.ndarray:
        if patch == 4:
            raise PixelError("pixels cannot be decoded: level 0", where="s0.tiff")
        return read(self, patch)

    monkeypatch.setattr(SlidePatches, "read", damaged)
    (record,) = build_cache(pool, tmp_path / "c", READING)
    assert (record.unreadable, record.remark) == (1, "pixels cannot be decoded: level 0")
    cache = CachedPatches(pool, tmp_path / "c")
    cache.read(3)
    with pytest.raises(PixelError, match="when the cache was made"):
        cache.read(4)
    cache.close()


def test_a_flipped_pixel_is_read_from_its_slide_and_its_file_made_again(
    write_pool: WritePool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pool = write_pool((6, 4))
    list(build_cache(pool, tmp_path / "c", READING))
    path = tmp_path / "c" / "s0.h5"
    whole = path.read_bytes()
    with h5py.File(path, "r+") as file:
        pixels = file["pixels"]
        pixels[3, 5, 7, 1] ^= 16
    slides, cache = SlidePatches(pool, READING), CachedPatches(pool, tmp_path / "c", READING)
    for _ in range(2):
        for patch in range(len(pool)):
            assert np.array_equal(cache.read(patch), slides.read(patch))
    cache.close()
    slides.close()
    (said,) = caplog.messages
    assert said.startswith(f"{path}: pixels are not what was written (checksum)")
    again = list(build_cache(pool, tmp_path / "c", READING))
    assert [record.status for record in again] == ["made", "reused"]
    assert path.read_bytes() == whole


def test_a_cache_without_checksums_of_its_patches_is_read_as_it_is(
    write_pool: WritePool, tmp_path: Path
) -> None:
    pool = write_pool((6,))
    list(build_cache(pool, tmp_path / "c", READING))
    path = tmp_path / "c" / "s0.h5"
    with h5py.File(path, "r+") as file:
        del file["crc32"], file.attrs["checksum"]
    slides, cache = SlidePatches(pool, READING), CachedPatches(pool, tmp_path / "c", READING)
    assert np.array_equal(cache.read(2), slides.read(2))
    slides.close()
    cache.close()
