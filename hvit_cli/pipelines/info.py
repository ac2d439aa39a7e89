"""What slides are, where their spacing comes from, and what hvit would do with them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hvit_cli.errors import HvitError, SpacingError
from hvit_cli.settings import ReadingSettings, TilingSettings
from hvit_cli.slides.entry import SlideEntry
from hvit_cli.slides.files import MANIFEST_SUFFIXES, is_dicom_folder, slide_id_of
from hvit_cli.slides.manifest import find_slides
from hvit_cli.slides.reader import Slide, open_slide
from hvit_cli.slides.spacing import SpacingSource
from hvit_cli.storage.describe import describe_product, is_product

COLUMNS = (
    "slide_id",
    "path",
    "vendor",
    "decoder",
    "width_level0",
    "height_level0",
    "n_levels",
    "spacing_um_level0",
    "spacing_source",
    "level",
    "spacing_um",
    "resampled",
    "problem",
)


@dataclass(frozen=True, kw_only=True)
class LevelInfo:
    """One level of a slide.

    Attributes:
        level: 0 is the finest.
        size: (width, height) in pixels of the level.
        downsample: Level-0 pixels per pixel.
        spacing_um: µm per pixel; nothing where the slide's spacing is not known.
    """

    level: int
    size: tuple[int, int]
    downsample: float
    spacing_um: float | None


@dataclass(frozen=True, kw_only=True)
class SlideInfo:
    """What is known about one slide; empty where the slide cannot be opened.

    Attributes:
        slide_id: The slide's name.
        path: Its file or folder.
        problem: Why hvit cannot work on it; empty when it can.
        hint: What to try about the problem.
        vendor: The scanner's maker or file layout.
        decoder: The library that decodes its pixels.
        levels: Its pyramid, finest first.
        spacing_um_level0: µm per level-0 pixel.
        spacing_source: The source of that spacing.
        sources: Every source of spacing, in the order in which they are asked.
        level: The level that is read for the target spacing.
        spacing_um: The spacing achieved, µm per output pixel.
        resampled: Whether that level is reduced.
        region_level0: Side of a region in level-0 pixels.
        region_um: Side of a region in µm.
    """

    slide_id: str
    path: Path
    problem: str = ""
    hint: str = ""
    vendor: str | None = None
    decoder: str | None = None
    levels: tuple[LevelInfo, ...] = ()
    spacing_um_level0: float | None = None
    spacing_source: str | None = None
    sources: tuple[SpacingSource, ...] = ()
    level: int | None = None
    spacing_um: float | None = None
    resampled: bool | None = None
    region_level0: float | None = None
    region_um: float | None = None

    def row(self) -> dict[str, object]:
        """The columns of the table, by name."""
        size = self.levels[0].size if self.levels else (None, None)
        return {name: getattr(self, name, None) for name in COLUMNS} | {
            "width_level0": size[0],
            "height_level0": size[1],
            "n_levels": len(self.levels) or None,
        }


@dataclass(frozen=True, kw_only=True)
class ProductInfo:
    """What is known about a file or model folder that hvit wrote.

    Attributes:
        path: The file or folder.
        facts: Its attributes and the form of its arrays, as text.
        problem: Why it cannot be used; empty when it can.
        hint: What to try about the problem.
    """

    path: Path
    facts: dict[str, str]
    problem: str = ""
    hint: str = ""


def inspect(
    sources: Sequence[Path],
    *,
    reading: ReadingSettings,
    tiling: TilingSettings,
) -> Iterator[SlideInfo | ProductInfo]:
    """Looks at slides, folders, manifests and hvit's own files, without reading pixels.

    A slide that cannot be opened or used is a record with its problem, never an exception.

    Args:
        sources: What to look at, in this order.
        reading: The target spacing, and where a missing spacing may come from.
        tiling: The size of a region.

    Raises:
        ManifestError: A folder holds no slides, or a manifest cannot be understood.
    """
    for source in sources:
        if is_product(source):
            yield _inspect_product(source)
        else:
            for entry in _entries(source):
                yield inspect_slide(entry, reading=reading, tiling=tiling)


def inspect_slide(
    entry: SlideEntry, *, reading: ReadingSettings, tiling: TilingSettings
) -> SlideInfo:
    """Looks at one slide; its problem, if any, is in the record."""
    try:
        with open_slide(
            entry.path,
            reading,
            slide_id=entry.slide_id,
            manifest_spacing_um=entry.spacing_um,
            require_spacing=False,
        ) as slide:
            return _opened(slide, reading, tiling)
    except HvitError as error:
        return SlideInfo(
            slide_id=entry.slide_id,
            path=entry.path,
            problem=_problem(error),
            hint=error.hint or "",
        )


def _entries(source: Path) -> list[SlideEntry]:
    is_list = source.suffix.lower() in MANIFEST_SUFFIXES and source.is_file()
    if is_list or (source.is_dir() and not is_dicom_folder(source)):
        return find_slides([source])
    # Named one by one, even a mask may be looked at, and a missing file is a record.
    return [SlideEntry(slide_id=slide_id_of(source), path=source)]


def _opened(slide: Slide, reading: ReadingSettings, tiling: TilingSettings) -> SlideInfo:
    geometry, known_um = slide.geometry, slide.spacing.spacing_um
    levels = tuple(
        LevelInfo(
            level=level,
            size=size,
            downsample=downsample,
            spacing_um=None if known_um is None else geometry.level_spacing_um(level),
        )
        for level, (size, downsample) in enumerate(
            zip(geometry.sizes, geometry.downsamples, strict=True)
        )
    )
    info = SlideInfo(
        slide_id=slide.slide_id,
        path=slide.path,
        vendor=slide.vendor,
        decoder=slide.decoder_name,
        levels=levels,
        spacing_um_level0=known_um,
        spacing_source=slide.spacing.kind,
        sources=slide.spacing.sources,
    )
    try:
        slide.spacing.required_um(slide.path)
        plan = slide.plan(reading)
    except SpacingError as error:
        return replace(info, problem=_problem(error), hint=error.hint or "")
    return replace(
        info,
        level=plan.level,
        spacing_um=plan.spacing_um,
        resampled=plan.resampled,
        region_level0=tiling.region_px * plan.level0_per_px,
        region_um=tiling.region_px * plan.spacing_um,
    )


def _problem(error: HvitError) -> str:
    """The error's line without the place and the hint, which have cells of their own."""
    return str(type(error)(error.what, found=error.found, wanted=error.wanted))


def _inspect_product(path: Path) -> ProductInfo:
    try:
        return ProductInfo(path=path, facts=describe_product(path))
    except HvitError as error:
        return ProductInfo(path=path, facts={}, problem=_problem(error), hint=error.hint or "")
