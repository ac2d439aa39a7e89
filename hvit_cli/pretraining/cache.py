"""A packed cache of patches on a local disk: one file per slide, mapped into memory.

For slides on a slow or shared disk, or in a format that decodes slowly. Pixels are stored as
they are read (196 KB a patch), so that runs with and without a cache learn from the same
patches. What a slide refuses to give is marked and refused by the cache as well.

A cache is too large to be read through before it is used: each patch has a checksum of its own,
which is compared whenever it is read. One that is not what was written is read from its slide.
"""

from __future__ import annotations

import json
import logging
import shutil
import threading
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from hvit_cli.errors import DamagedFileError, PixelError, SlideError, StorageError
from hvit_cli.pretraining.patches import SlidePatches
from hvit_cli.pretraining.pool import PatchPool, PoolSlide
from hvit_cli.settings import ReadingSettings
from hvit_cli.storage.arrays import Arrays, Blocks, map_arrays, require_arrays, write_arrays
from hvit_cli.storage.recipe import Recipe, recipe_of, recipe_text, require_same_recipe

KIND = "hvit-patches"
SCHEMA = 1
# Raised when the same settings begin to give other pixels.
METHOD = 1

_LOG = logging.getLogger(__name__)

Rgb = npt.NDArray[np.uint8]
_BLOCK = 64
_CRC = "crc32"
_AS_FOUND = ReadingSettings()
_GB = 1e9


@dataclass(frozen=True, kw_only=True)
class CachedSlide:
    """What became of one slide's cache file.

    Attributes:
        number: Position in the pool, 1 first.
        total: Slides in the pool.
        slide_id: The slide.
        path: Its file in the cache.
        status: Whether the file was made now or was there.
        patches: Patches in it.
        unreadable: Those of them that the slide refused to give.
        remark: Why an existing file was made again, or the slide's first refusal.
    """

    number: int
    total: int
    slide_id: str
    path: Path
    status: Literal["made", "reused"]
    patches: int
    unreadable: int
    remark: str = ""


def cache_file(folder: Path, slide: PoolSlide) -> Path:
    """Where a slide's patches lie."""
    return folder / f"{slide.slide_id}.h5"


def cache_recipe(slide: PoolSlide, patch_px: int) -> Recipe:
    """What decides the content of a slide's cache file."""
    return recipe_of(
        settings={
            **slide.recipe["settings"],
            "patches": {"method": METHOD, "patch_px": patch_px},
        },
        inputs=slide.recipe["inputs"],
    )


def build_cache(
    pool: PatchPool, folder: Path, reading: ReadingSettings, *, overwrite: bool = False
) -> Iterator[CachedSlide]:
    """Copies the patches of slides into the cache, file by file, where they are missing.

    A file is whole or absent: a run that is killed goes on with the slide it was at.

    Args:
        pool: The patches.
        folder: The cache's folder, on a local disk.
        reading: How the slides were opened when their patches were found.
        overwrite: Make files again that exist with another recipe.

    Yields:
        A record per slide.

    Raises:
        RecipeError: A file was made with other settings or from another slide.
        StorageError: The disk has no room for what is missing.
    """
    remarks = missing_files(pool, folder, overwrite=overwrite)
    for number, (slide, remark) in enumerate(zip(pool.slides, remarks, strict=True), start=1):
        found = (
            _reused(slide, folder)
            if remark is None
            else cache_slide(slide, pool.patch_px, folder, reading, remark)
        )
        yield replace(found, number=number, total=len(pool.slides))


def missing_files(pool: PatchPool, folder: Path, *, overwrite: bool = False) -> list[str | None]:
    """Which slides' files must be made, and why; checked before any is.

    Returns:
        For each slide None where its file is there, "" where it never was, and else why it is
        made again.

    Raises:
        RecipeError: A file was made with other settings or from another slide.
        StorageError: The disk has no room for what is missing.
    """
    remarks = [_missing(pool, slide, folder, overwrite) for slide in pool.slides]
    missing = [s for s, remark in zip(pool.slides, remarks, strict=True) if remark is not None]
    _require_room(folder, missing, pool.patch_px)
    return remarks


def cache_slide(
    slide: PoolSlide, patch_px: int, folder: Path, reading: ReadingSettings, remark: str = ""
) -> CachedSlide:
    """Copies the patches of one slide into its file.

    Args:
        slide: The slide.
        patch_px: Side of the patches.
        folder: The cache's folder.
        reading: How the slide was opened when its patches were found.
        remark: Why the file is made again.

    Raises:
        StorageError: The file cannot be written.
    """
    alone = PatchPool(slides=(slide,), patch_px=patch_px)
    reader = SlidePatches(alone, reading)
    try:
        refused = _write(alone, 0, folder, reader)
    finally:
        reader.close()
    return replace(
        _reused(slide, folder),
        status="made",
        unreadable=len(refused),
        remark="; ".join(filter(None, [remark, *refused[:1]])),
    )


def _reused(slide: PoolSlide, folder: Path) -> CachedSlide:
    return CachedSlide(
        number=1,
        total=1,
        slide_id=slide.slide_id,
        path=cache_file(folder, slide),
        status="reused",
        patches=len(slide.origin_level0),
        unreadable=0,
    )


class CachedPatches:
    """Reads the patches of a pool from its cache.

    Args:
        pool: The patches.
        folder: The cache, complete.
        reading: How the slides were opened when their patches were found.

    Raises:
        StorageError: A slide's file is missing.
        DamagedFileError: One is not a complete file of this kind.
        RecipeError: One was made with other settings or from another slide.
    """

    def __init__(self, pool: PatchPool, folder: Path, reading: ReadingSettings = _AS_FOUND) -> None:
        self.pool = pool
        self._folder = folder
        self._files = [_mapped(pool, slide, cache_file(folder, slide)) for slide in pool.slides]
        self._slides = SlidePatches(pool, reading)
        self._altered: set[int] = set()
        self._lock = threading.Lock()

    def read(self, patch: int) -> Rgb:
        """See `PatchReader.read`."""
        number, inside = self.pool.locate(patch)
        arrays = self._files[number]
        if not arrays["readable"][inside]:
            raise PixelError(
                "pixels could not be decoded when the cache was made",
                where=self.pool.slides[number].path,
            )
        pixels = np.array(arrays["pixels"][inside])
        # Files from before checksums of patches were written have none.
        if _CRC not in arrays or zlib.crc32(pixels.data) == arrays[_CRC][inside]:
            return pixels
        self._give_up(number)
        return self._slides.read(patch)

    def close(self) -> None:
        """Lets go of the memory maps."""
        self._files = []
        self._slides.close()

    def _give_up(self, number: int) -> None:
        """Removes the file of a slide, so that the next run makes it again; says so once."""
        with self._lock:
            if number in self._altered:
                return
            self._altered.add(number)
        path = cache_file(self._folder, self.pool.slides[number])
        _LOG.warning(
            "%s: pixels are not what was written (checksum): they are read from the slide, and "
            "the next run makes this file again",
            path,
        )
        with suppress(OSError):
            path.unlink(missing_ok=True)


def _missing(pool: PatchPool, slide: PoolSlide, folder: Path, overwrite: bool) -> str | None:
    """None where the slide's file is there; else why it is made again, or "" for the first time."""
    path = cache_file(folder, slide)
    if overwrite or not path.exists():
        return ""
    try:
        _mapped(pool, slide, path)
    except DamagedFileError as error:
        return f"{path.name} made again, because {error.what}"
    return None


def _mapped(pool: PatchPool, slide: PoolSlide, path: Path) -> Arrays:
    """The arrays of a slide's file, mapped."""
    arrays, attributes = map_arrays(path, KIND, SCHEMA, unread=("pixels",))
    try:
        recipe = json.loads(attributes["recipe"])
    except (KeyError, ValueError) as error:
        raise DamagedFileError(
            "an attribute is missing or wrong", where=path, found=error
        ) from error
    require_same_recipe(path, recipe, cache_recipe(slide, pool.patch_px))
    require_arrays(path, arrays, {"pixels": (np.uint8, 4), "readable": (np.bool_, 1)})
    if not np.array_equal(arrays["origin_level0"], slide.origin_level0):
        raise DamagedFileError("the patches lie elsewhere than those of the slide", where=path)
    return arrays


def _write(pool: PatchPool, number: int, folder: Path, reader: SlidePatches) -> list[str]:
    """Writes one slide's file; returns a reason for each patch that could not be read."""
    slide, first = pool.slides[number], int(pool.first[number])
    count, px = len(slide.origin_level0), pool.patch_px
    readable = np.ones(count, np.bool_)
    crc32 = np.zeros(count, np.uint32)
    refused: list[str] = []

    def blocks() -> Iterator[Rgb]:
        for start in range(0, count, _BLOCK):
            block = np.zeros((min(_BLOCK, count - start), px, px, 3), np.uint8)
            for inside in range(len(block)):
                try:
                    block[inside] = reader.read(first + start + inside)
                except SlideError as error:
                    readable[start + inside] = False
                    refused.append(error.what)
                crc32[start + inside] = zlib.crc32(block[inside].data)
            yield block

    write_arrays(
        cache_file(folder, slide),
        {
            "pixels": Blocks((count, px, px, 3), np.uint8, blocks()),
            "origin_level0": slide.origin_level0,
            # Filled in while the pixels before them are written.
            "readable": readable,
            _CRC: crc32,
        },
        {
            "kind": KIND,
            "schema": SCHEMA,
            "slide_id": slide.slide_id,
            "patch_px": px,
            "recipe": recipe_text(cache_recipe(slide, px)),
        },
    )
    return refused


def _require_room(folder: Path, slides: Sequence[PoolSlide], patch_px: int) -> None:
    needed = sum(len(slide.origin_level0) for slide in slides) * 3 * patch_px**2
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    if needed > free:
        raise StorageError(
            "the disk has no room for the cache of patches",
            where=folder,
            found=f"{free / _GB:.1f} GB free",
            wanted=f"{needed / _GB:.1f} GB",
            hint="another folder, fewer slides, or no cache: patches are then read from the slides",
        )
