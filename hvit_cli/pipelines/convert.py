"""`hvit convert`: features and models of other programs to hvit's files, and back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hvit_cli.engine.run import SlideRecord, run_slides
from hvit_cli.errors import DamagedFileError, SettingsError, StorageError, UsageError
from hvit_cli.settings import Attention, Normalisation, ReadingSettings, TilingSettings
from hvit_cli.slides.entry import SlideEntry
from hvit_cli.steps.convert_forecast import (
    ConvertedSlide,
    ConvertForecast,
    forecast_conversion,
)
from hvit_cli.steps.known_slides import KnownSlides
from hvit_cli.steps.regroup import regroup_patches, regroup_regions
from hvit_cli.steps.regrouping import Maker, Regrouping
from hvit_cli.storage.features import SlideFeatures, read_features, write_features
from hvit_cli.storage.foreign import clam, dense, original, slide2vec, stamp, trident
from hvit_cli.storage.foreign.hdf5 import file_attribute
from hvit_cli.storage.foreign.patches import ForeignPatches, file_fingerprint
from hvit_cli.storage.foreign.selection import Rows, rows_for
from hvit_cli.storage.recipe import recipe8, recipe_of, recipe_text, require_same_recipe
from hvit_cli.storage.status import StatusRow
from hvit_cli.storage.work import WorkFolder

if TYPE_CHECKING:
    from hvit_cli.steps.convert_model import ConvertedModel

STAGE = "convert"
# Raised when the same features begin to give other files for other programs.
_EXPORT_METHOD = 1

Source = Literal["trident", "clam", "slide2vec", "original"]
Target = Literal["clam", "trident", "stamp", "dense"]
Write = Callable[[Path, SlideFeatures, Rows, Mapping[str, Any]], None]
ReadPatches = Callable[[str, Path], ForeignPatches]

_FINDERS: dict[Source, Callable[[Path], dict[str, Path]]] = {
    "trident": trident.find_trident,
    "clam": clam.find_clam,
    "slide2vec": slide2vec.find_slide2vec,
    "original": original.find_original,
}
_READERS: dict[Source, ReadPatches] = {
    "trident": trident.read_trident,
    "clam": clam.read_clam,
    "slide2vec": slide2vec.read_slide2vec,
}
_WRITERS: dict[Target, tuple[Callable[[Path, SlideFeatures], Path], Write]] = {
    "clam": (clam.clam_path, clam.write_clam),
    "trident": (trident.trident_path, trident.write_trident),
    "stamp": (stamp.stamp_path, stamp.write_stamp),
    "dense": (dense.dense_path, dense.write_dense),
}


@dataclass(frozen=True, kw_only=True)
class ImportRequest:
    """Features, or weights, of another program that are to become ours.

    Attributes:
        layout: Whose files they are.
        encoder: Where the patch encoder is found, if it is here.
        encoder_name: Its name alone, if it is not.
        normalisation: What patches were normalised with; None takes the encoder's own, or what
            the original used ("none").
        reading: Spacing of the patches and tolerance; `spacing_override` is level 0's.
        tiling: Region, patch, grid and least tissue.
        patch_level0: Side of a patch in level-0 pixels, where the files do not say.
        slides: The slides themselves, which know their spacing and size.
        coordinates: Where the regions of the original lie.
        tissue: Folder of the original's tissue fractions.
        overwrite: Replace files made with other settings.
    """

    layout: Source
    encoder: str | None = None
    encoder_name: str | None = None
    normalisation: Normalisation | None = None
    reading: ReadingSettings = field(default_factory=ReadingSettings)
    tiling: TilingSettings = field(default_factory=TilingSettings)
    patch_level0: int | None = None
    slides: Path | None = None
    coordinates: Path | None = None
    tissue: Path | None = None
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.encoder is not None and self.encoder_name is not None:
            raise UsageError("--encoder and --encoder-name both say who made the features")
        if self.patch_level0 is not None and self.patch_level0 < 1:
            raise SettingsError(
                "a patch has at least one pixel", where="--patch-level0", found=self.patch_level0
            )
        if self.layout != "original" and (self.coordinates or self.tissue):
            raise UsageError("--coordinates and --tissue belong to --from original")


def import_features(
    source: Path, work: WorkFolder, request: ImportRequest
) -> Iterator[SlideRecord[SlideFeatures]]:
    """Regroups the features of every slide found, one slide in memory at a time.

    Files go to `features/<encoder>-<recipe8>/` in the work folder, where `hvit train` finds
    them. A file that was made from the same input with the same settings is kept.

    Args:
        source: The other program's folder.
        work: The work folder.
        request: What is known beside the files.

    Yields:
        A record per slide.

    Raises:
        HvitError: Nothing can be converted at all.
    """
    found = _importing(source, work, request)

    def step(entry: SlideEntry) -> tuple[StatusRow, SlideFeatures]:
        slide = found.read(entry.slide_id, entry.path)
        path = found.folder / f"{entry.slide_id}.h5"
        remark = _reuse(path, slide, overwrite=request.overwrite)
        if remark != "reused":
            write_features(path, slide)
        return _row(entry, slide, remark), slide

    yield from run_slides(found.entries, step, stage=STAGE, work=work)


def forecast_import(source: Path, work: WorkFolder, request: ImportRequest) -> ConvertForecast:
    """What `import_features` would do; nothing is written.

    Raises:
        HvitError: The import could not begin.
    """
    found = _importing(source, work, request)

    def convert(entry: SlideEntry) -> ConvertedSlide:
        slide = found.read(entry.slide_id, entry.path)
        arrays = (
            *(slide.features, slide.coords, slide.region_index, slide.patch_index),
            *(slide.tissue_fraction, slide.region_xy_level0, slide.region_tissue_fraction),
        )
        return ConvertedSlide(len(slide.features), sum(array.nbytes for array in arrays))

    return forecast_conversion(found.entries, convert, stage=STAGE, out=work.path)


def export_features(
    source: Path, out: Path, target: Target, attention: Attention, *, overwrite: bool
) -> Iterator[SlideRecord[Path]]:
    """Writes our features in another program's layout, one slide in memory at a time.

    Args:
        source: A folder of feature files, or a work folder that holds one.
        out: The other program's folder.
        target: Whose layout.
        attention: `masked` hands on patches with tissue, `plain` every patch.
        overwrite: Replace files made from other features or settings.

    Yields:
        A record per slide.

    Raises:
        HvitError: There are no features.
    """
    from hvit_cli.training.cohort import find_features_folder, list_features

    files = list_features(find_features_folder(source))
    place, write = _WRITERS[target]

    def step(entry: SlideEntry) -> tuple[StatusRow, Path]:
        slide = read_features(entry.path)
        path = place(out, slide)
        stamped = {
            "hvit_recipe": recipe_text(
                recipe_of(
                    settings={
                        "export": {
                            "method": _EXPORT_METHOD,
                            "to": target,
                            "attention": attention,
                        },
                        **slide.recipe.get("settings", {}),
                    },
                    inputs={"features": file_fingerprint(entry.path)},
                )
            )
        }
        found = file_attribute(path, "hvit_recipe")
        rows = rows_for(slide, attention)
        if found == stamped["hvit_recipe"] and not overwrite:
            return _row(entry, slide, "reused", len(rows.features)), path
        if path.exists() and not overwrite:
            raise StorageError(
                "this file was made from other features or by another program",
                where=path,
                hint="--overwrite, or another folder with -o",
            )
        write(path, slide, rows, stamped)
        return _row(entry, slide, "", len(rows.features)), path

    yield from run_slides(_entries(files), step, stage=STAGE, work=WorkFolder(out))


def forecast_export(
    source: Path, out: Path, target: Target, attention: Attention
) -> ConvertForecast:
    """What `export_features` would do; nothing is written.

    Raises:
        HvitError: There are no features.
    """
    from hvit_cli.training.cohort import find_features_folder, list_features

    files = list_features(find_features_folder(source))

    def convert(entry: SlideEntry) -> ConvertedSlide:
        slide = read_features(entry.path)
        rows = rows_for(slide, attention)
        patches, width = rows.features.shape
        if target == "dense":
            # Every patch of every region, with its flag and tissue fraction.
            size = slide.n_regions * slide.patches_per_region * (4 * width + 5)
        else:
            size = rows.features.nbytes + rows.coords.nbytes
        # CLAM's readers want the features twice.
        size += rows.features.nbytes if target == "clam" else 0
        return ConvertedSlide(patches, size)

    return forecast_conversion(_entries(files), convert, stage=STAGE, out=out)


def import_model(
    files: Sequence[Path], out: Path, attention: Attention, request: ImportRequest
) -> ConvertedModel:
    """Writes state dicts of the original's aggregators as one model folder.

    Args:
        files: One state dict per fold.
        out: The model folder.
        attention: The attention they were trained with.
        request: Encoder, spacing, region.

    Raises:
        HvitError: They cannot be read or are no model.
    """
    from hvit_cli.steps.convert_model import convert_model
    from hvit_cli.steps.maker import load_maker, named_maker, required_name

    if request.layout != "original":
        raise UsageError(
            "only the original's aggregators can be converted",
            where="--from",
            found=request.layout,
            wanted="original",
        )
    encoder = None
    normalisation = request.normalisation or "none"
    if request.encoder is not None:
        maker, encoder = load_maker(request.encoder, normalisation)
    else:
        maker = named_maker(required_name(request.encoder_name), normalisation)
    return convert_model(
        files,
        out,
        attention=attention,
        reading=request.reading,
        tiling=request.tiling,
        maker=maker,
        encoder=encoder,
        overwrite=request.overwrite,
    )


@dataclass(frozen=True, kw_only=True)
class _Importing:
    """The slides that were found, what reads and regroups one, and where its file goes."""

    entries: Sequence[SlideEntry]
    read: Callable[[str, Path], SlideFeatures]
    folder: Path


def _importing(source: Path, work: WorkFolder, request: ImportRequest) -> _Importing:
    if not source.is_dir():
        raise UsageError("no such folder", where=source)
    if request.layout == "original" and request.coordinates is None:
        raise UsageError(
            "the original's feature files do not say where their regions lie",
            where="--coordinates",
            wanted="its folder of regions (<slide>/imgs/<x>_<y>.jpg), a table slide_id,x,y, or a "
            "folder of <slide>.npy",
        )
    files = _FINDERS[request.layout](source)
    how = Regrouping(
        layout=request.layout,
        maker=_maker(request, files),
        reading=request.reading,
        tiling=request.tiling,
        patch_level0=request.patch_level0,
    )
    known_of = KnownSlides(request.slides, request.reading)
    read = _reader(request, how, known_of)
    return _Importing(
        entries=_entries(files),
        read=read,
        folder=work.features_folder(how.maker.folder_name, recipe8(how.settings)),
    )


def _reader(
    request: ImportRequest, how: Regrouping, known_of: KnownSlides
) -> Callable[[str, Path], SlideFeatures]:
    """Reads and regroups one slide."""
    if request.layout == "original" and request.coordinates is not None:
        coordinates = original.RegionCoordinates(request.coordinates)

        def read_regions(slide_id: str, path: Path) -> SlideFeatures:
            regions = original.read_original(slide_id, path, coordinates, request.tissue)
            return regroup_regions(regions, how, known_of.of(slide_id))

        return read_regions

    from hvit_cli.steps.maker import require_encoder

    reader = _READERS[request.layout]
    named = request.encoder is not None or request.encoder_name is not None

    def read_patches(slide_id: str, path: Path) -> SlideFeatures:
        patches = reader(slide_id, path)
        if not named and patches.encoder is not None:
            require_encoder(patches.encoder, how.maker, path)
        return regroup_patches(patches, how, known_of.of(slide_id))

    return read_patches


def _maker(request: ImportRequest, files: Mapping[str, Path]) -> Maker:
    """The encoder that the user names, or that the first file names."""
    from hvit_cli.steps.maker import load_maker, named_maker, required_name

    # What the original did is known; about others the encoder, or nobody, says.
    usual: Normalisation | None = "none" if request.layout == "original" else None
    normalisation = request.normalisation or usual
    if request.encoder is not None:
        return load_maker(request.encoder, normalisation)[0]
    name = request.encoder_name
    if name is None and request.layout in _READERS:
        slide_id, path = next(iter(files.items()))
        name = _READERS[request.layout](slide_id, path).encoder
    return named_maker(required_name(name), normalisation)


def _reuse(path: Path, slide: SlideFeatures, *, overwrite: bool) -> str:
    """What to remark: "reused" where the file is there already, else why it is made.

    Raises:
        RecipeError: It was made from other files or with other settings.
    """
    if not path.exists() or overwrite:
        return ""
    try:
        found = read_features(path)
    except DamagedFileError as error:
        return f"made again, because {error.what}"
    require_same_recipe(path, found.recipe, slide.recipe)
    return "reused"


def _entries(files: Mapping[str, Path]) -> list[SlideEntry]:
    return [SlideEntry(slide_id=slide_id, path=path) for slide_id, path in files.items()]


def _row(
    entry: SlideEntry, slide: SlideFeatures, remark: str, patches: int | None = None
) -> StatusRow:
    return StatusRow(
        slide_id=entry.slide_id,
        path=str(entry.path),
        stage=STAGE,
        status="done" if slide.n_regions else "no_region",
        reason=remark,
        spacing_um=slide.spacing_um,
        n_regions=slide.n_regions,
        n_patches=len(slide.features) if patches is None else patches,
        tissue_mm2=slide.tissue_mm2,
        tissue_dropped_mm2=slide.tissue_dropped_mm2,
    )
