"""One way to read any slide: open it, ask what it is, read its pixels at a spacing."""

from __future__ import annotations

import functools
import math
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

# Before anything that may import torch: the other order has been reported to change what
# OpenSlide detects.
import openslide  # noqa: F401 - imported for that effect

from hvit_cli.settings import ReadingSettings
from hvit_cli.slides.decoders.base import Decoder, Rgb, given
from hvit_cli.slides.decoders.choose import open_decoder
from hvit_cli.slides.files import slide_id_of
from hvit_cli.slides.fingerprint import fingerprint
from hvit_cli.slides.geometry import (
    ReadingPlan,
    SlideGeometry,
    plan_reading,
    source_rectangles,
)
from hvit_cli.slides.overviews import Overviews
from hvit_cli.slides.reduction import reduce_area
from hvit_cli.slides.spacing import SpacingReport, find_spacing

_WHITE = 255

_DEFAULT_READING = ReadingSettings()


def open_slide(
    path: Path,
    reading: ReadingSettings = _DEFAULT_READING,
    *,
    slide_id: str | None = None,
    manifest_spacing_um: float | None = None,
    require_spacing: bool = True,
) -> Slide:
    """Opens a slide.

    Args:
        path: A slide's file, or the folder of a DICOM slide.
        reading: Says where a missing spacing may come from.
        slide_id: The slide's name; its file name without suffix by default.
        manifest_spacing_um: µm per level-0 pixel, when a manifest states it.
        require_spacing: Whether a slide without a plausible spacing is refused. Otherwise its
            `geometry.spacing_um` is NaN.

    Raises:
        UnreadableSlideError: The file is missing, damaged, or no slide.
        SpacingError: The spacing is missing or implausible.
    """
    return Slide(
        Path(path),
        reading,
        slide_id=slide_id,
        manifest_spacing_um=manifest_spacing_um,
        require_spacing=require_spacing,
    )


class Slide(Overviews):
    """One open slide.

    A slide belongs to one thread at a time: give every thread its own. It may be pickled, and
    used in a forked process, where it opens its file again.

    Attributes:
        slide_id: The slide's name, unique in a run.
        path: Its file or folder.
        spacing: Where its spacing comes from.
        geometry: Sizes and downsamples of its levels, and the spacing of level 0.
        vendor: The scanner's maker or file layout, in OpenSlide's word.
        decoder_name: The library that decodes its pixels.
        properties: What the file says about itself, as text.
    """

    def __init__(
        self,
        path: Path,
        reading: ReadingSettings = _DEFAULT_READING,
        *,
        slide_id: str | None = None,
        manifest_spacing_um: float | None = None,
        require_spacing: bool = True,
    ) -> None:
        self.path = path
        self.slide_id = slide_id_of(path) if slide_id is None else slide_id
        self._opened_by = os.getpid()
        self._decoder: Decoder | None = open_decoder(path)
        self._inherited: list[Decoder] = []
        self.vendor = self._decoder.vendor
        self.decoder_name = self._decoder.name
        self.properties = self._decoder.properties
        try:
            self.spacing: SpacingReport = find_spacing(
                self._decoder.properties,
                reading,
                vendor=self.vendor,
                manifest_spacing_um=manifest_spacing_um,
                where=path,
            )
            if require_spacing:
                self.spacing.required_um(path)
        except BaseException:
            self.close()
            raise
        known_um = self.spacing.spacing_um
        self.geometry = SlideGeometry(
            sizes=self._decoder.sizes,
            downsamples=self._decoder.downsamples,
            spacing_um=math.nan if known_um is None else known_um,
        )
        self._reopen = functools.partial(
            open_slide,
            path,
            reading,
            slide_id=self.slide_id,
            manifest_spacing_um=manifest_spacing_um,
            require_spacing=require_spacing,
        )

    def __repr__(self) -> str:
        width, height = self.geometry.size_level0
        return (
            f"Slide({self.slide_id!r}, {width}×{height} px, {self.geometry.spacing_um:.4g} µm/px)"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return (self._reopen, ())

    def twin(self) -> Self:
        """The same slide for another thread, to be called in the thread that has this one."""
        twin = object.__new__(type(self))
        decoder = self._open_decoder().twin()
        twin.__dict__.update(self.__dict__, _decoder=decoder, _inherited=[])
        return twin

    def close(self) -> None:
        """Releases the file; reading opens it again."""
        if self._decoder is not None:
            self._decoder.close()
            self._decoder = None

    @functools.cached_property
    def fingerprint(self) -> dict[str, Any]:
        """What tells this slide from another of its name, as plain JSON values."""
        return fingerprint(self.path, self.geometry.sizes)

    def plan(self, reading: ReadingSettings) -> ReadingPlan:
        """How pixels at the target spacing are made from this slide's levels.

        Raises:
            SpacingError: The spacing is not known, or too coarse for the target.
        """
        return plan_reading(
            self.geometry, reading.spacing_um, reading.spacing_tolerance, where=self.path
        )

    def read_level(
        self,
        level: int,
        xy_px: tuple[int, int],
        size_px: tuple[int, int],
        out: Rgb | None = None,
    ) -> Rgb:
        """Reads a rectangle of a level's own pixels.

        Args:
            level: 0 is the finest.
            xy_px: Top-left corner (x, y) in pixels of the level; may lie outside.
            size_px: (width, height) in pixels of the level.
            out: (height, width, 3) to write into instead of new memory.

        Returns:
            (height, width, 3) RGB, white outside the slide and where it is transparent.

        Raises:
            PixelError: Some of the pixels cannot be decoded.
        """
        (x, y), (width, height) = xy_px, size_px
        level_width, level_height = self.geometry.sizes[level]
        left, top = max(x, 0), max(y, 0)
        right, bottom = min(x + width, level_width), min(y + height, level_height)
        if left >= right or top >= bottom:
            return given(np.full((height, width, 3), _WHITE, np.uint8), out)
        decoder = self._open_decoder()
        if (right - left, bottom - top) == (width, height):
            return decoder.read(level, xy_px, size_px, out)
        pixels = np.empty((height, width, 3), np.uint8) if out is None else out
        pixels[...] = _WHITE
        decoder.read(
            level,
            (left, top),
            (right - left, bottom - top),
            pixels[top - y : bottom - y, left - x : right - x],
        )
        return pixels

    def read_patch(
        self, plan: ReadingPlan, origin_level0: tuple[float, float], patch_px: int
    ) -> Rgb:
        """Reads one patch at the planned spacing, from its own level-0 rectangle alone.

        Args:
            plan: From `plan_reading`.
            origin_level0: Top-left corner (x, y) in level-0 pixels, not rounded.
            patch_px: Side of the patch in output pixels.

        Returns:
            (patch_px, patch_px, 3) RGB, white outside the slide.

        Raises:
            PixelError: Some of the pixels cannot be decoded.
        """
        rectangle = source_rectangles(plan, origin_level0, patch_px)
        return reduce_area(self._read_rectangle(plan.level, rectangle), (patch_px, patch_px))

    def read_patches(
        self,
        plan: ReadingPlan,
        origin_level0: tuple[float, float],
        patch_px: int,
        side: int,
        patch_index: npt.NDArray[np.int64],
    ) -> Rgb:
        """Reads patches of one region, each exactly as `read_patch` would.

        Patches that lie side by side are read in one go, and nothing beside them.

        Args:
            plan: From `plan_reading`.
            origin_level0: Top-left corner (x, y) of the region in level-0 pixels, not rounded.
            patch_px: Side of a patch in output pixels.
            side: Patches along one side of the region.
            patch_index: (n,) indices row · side + column of the patches wanted.

        Returns:
            (n, patch_px, patch_px, 3) RGB in the order of `patch_index`.

        Raises:
            PixelError: Some of the pixels cannot be decoded.
        """
        index = np.asarray(patch_index, np.int64)
        row, column = np.divmod(index, side)
        offset = np.stack([column, row], axis=-1) * (patch_px * plan.level0_per_px)
        rectangles = source_rectangles(plan, np.asarray(origin_level0) + offset, patch_px)
        patches = np.empty((len(index), patch_px, patch_px, 3), np.uint8)
        decoder = self._open_decoder()
        if self._are_inside(plan.level, rectangles, patch_px) and decoder.read_squares(
            plan.level, rectangles[:, :2], patches
        ):
            return patches
        if decoder.keeps_tiles or not decoder.is_exact(plan.level):
            for patch, (left, top, right, bottom) in zip(patches, rectangles.tolist(), strict=True):
                xy_px, size_px = (left, top), (right - left, bottom - top)
                if size_px == (patch_px, patch_px):
                    self.read_level(plan.level, xy_px, size_px, patch)
                else:
                    whole = self.read_level(plan.level, xy_px, size_px)
                    patch[...] = reduce_area(whole, (patch_px, patch_px))
            return patches
        for run in _runs(index, side):
            left, top = rectangles[run, :2].min(axis=0)
            right, bottom = rectangles[run, 2:].max(axis=0)
            strip = self._read_rectangle(plan.level, np.array([left, top, right, bottom]))
            for n in run:
                x0, y0, x1, y1 = rectangles[n] - [left, top, left, top]
                patches[n] = reduce_area(strip[y0:y1, x0:x1], (patch_px, patch_px))
        return patches

    def _are_inside(self, level: int, rectangles: npt.NDArray[np.int64], side_px: int) -> bool:
        """Whether (n, 4) rectangles are squares of a side, and none reaches beyond the level."""
        first, last = rectangles[:, :2], rectangles[:, 2:]
        is_square = bool((last - first == side_px).all())
        return is_square and bool((first >= 0).all() and (last <= self.geometry.sizes[level]).all())

    def _read_rectangle(self, level: int, rectangle: npt.NDArray[np.int64]) -> Rgb:
        left, top, right, bottom = (int(edge) for edge in rectangle)
        return self.read_level(level, (left, top), (right - left, bottom - top))

    def _open_decoder(self) -> Decoder:
        if self._opened_by != os.getpid():
            # A forked process shares its parent's file position. The parent's decoder is kept,
            # for freeing it here could wait for a lock that a thread of the parent held.
            if self._decoder is not None:
                self._inherited.append(self._decoder)
            self._decoder = None
            self._opened_by = os.getpid()
        if self._decoder is None:
            self._decoder = open_decoder(self.path)
        return self._decoder


def _runs(index: npt.NDArray[np.int64], side: int) -> list[npt.NDArray[np.int64]]:
    """Groups positions in `index` whose patches lie side by side in one row of the region."""
    order = np.argsort(index, kind="stable")
    ordered = index[order]
    breaks = (np.diff(ordered) > 1) | (ordered[1:] % side == 0)
    return [run for run in np.split(order, np.flatnonzero(breaks) + 1) if len(run)]
