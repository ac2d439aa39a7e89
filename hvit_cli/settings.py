"""Every setting of hvit: frozen, declared once, checked at birth, saved beside every output.

The sentence under a field is its documentation everywhere: `sentence(TilingSettings,
"region_px")` gives it to the command line's help, and `as_recipe` turns an instance into the
plain dictionary that is stored with results. This module imports nothing heavy.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar

from hvit_cli.errors import SettingsError

S = TypeVar("S")

Attention = Literal["masked", "plain"]
Grid = Literal["islands", "slide"]
MissingMask = Literal["error", "segment", "skip"]
Precision = Literal["auto", "float32", "bfloat16", "float16"]
Normalisation = Literal["imagenet", "half", "none"]
EncoderInput = Literal["auto", "native", "resize"]
Scale = Literal["relative", "rank", "minmax", "raw"]
Combine = Literal["region", "region×slide"]
Task = Literal["isup", "ordinal", "binary"]
Objective = Literal["regression", "classification", "ordinal"]
Head = Literal["linear", "ranks"]


def _require(holds: bool, field: str, found: object, wanted: str) -> None:
    if not holds:
        option = "--" + field.replace("_", "-")
        raise SettingsError(
            f"the setting {field} is out of range", where=option, found=repr(found), wanted=wanted
        )


def _is_positive(value: float) -> bool:
    return isinstance(value, int | float) and math.isfinite(value) and value > 0


def _is_share(value: float) -> bool:
    return isinstance(value, int | float) and math.isfinite(value) and 0 <= value <= 1


@dataclass(frozen=True, kw_only=True)
class ReadingSettings:
    """At which spacing pixels are read, and where the slide's own spacing comes from."""

    spacing_um: float = 0.5
    """Target spacing in µm per pixel."""

    spacing_tolerance: float = 0.05
    """Largest relative difference at which a level's pixels are used unchanged."""

    spacing_override: float | None = None
    """Spacing of level 0 in µm per pixel, replacing what the files say."""

    spacing_from_objective: bool = False
    """Derive a missing spacing from the objective power (10 / power µm per pixel)."""

    def __post_init__(self) -> None:
        _require(_is_positive(self.spacing_um), "spacing_um", self.spacing_um, "above 0")
        _require(
            0 <= self.spacing_tolerance < 1,
            "spacing_tolerance",
            self.spacing_tolerance,
            "from 0 to below 1",
        )


@dataclass(frozen=True, kw_only=True)
class TissueSettings:
    """How tissue is told from glass, or whose mask is taken instead."""

    segment_spacing_um: float = 8.0
    """Spacing in µm per pixel near which tissue is segmented."""

    saturation_floor: float = 0.05
    """Lowest saturation (0-1) that may count as tissue, whatever Otsu says."""

    saturation_ceiling: float = 0.08
    """Saturation (0-1) that always counts as tissue, so that strong stain does not hide pale."""

    median_um: float = 32.0
    """Side of the median filter in µm."""

    closing_um: float = 128.0
    """Diameter of the closing in µm."""

    min_tissue_mm2: float = 0.02
    """Tissue components smaller than this many mm² are removed."""

    min_width_um: float = 50.0
    """Tissue components that are nowhere this many µm wide are removed: scratches, dust."""

    max_hole_mm2: float = 0.1
    """Holes up to this many mm² are filled: lumina count as tissue."""

    min_pen_mm2: float = 0.03
    """Red and black areas smaller than this many mm² are no pen mark."""

    mask_dir: Path | None = None
    """Folder of tissue masks that replace segmentation."""

    mask_pattern: str = "{slide_id}_mask.tiff"
    """Name of a slide's mask in the mask folder."""

    tissue_values: tuple[int, ...] = (1,)
    """Values of an external mask (first channel) that mean tissue."""

    missing_mask: MissingMask = "error"
    """What to do for a slide without a mask in the mask folder."""

    tissue_geojson: Path | None = None
    """Folder of GeoJSON outlines, <slide_id>.geojson, that replace segmentation."""

    def __post_init__(self) -> None:
        for field in ("segment_spacing_um", "median_um", "closing_um"):
            _require(_is_positive(getattr(self, field)), field, getattr(self, field), "above 0")
        for field in ("min_tissue_mm2", "min_width_um", "max_hole_mm2", "min_pen_mm2"):
            value = getattr(self, field)
            _require(math.isfinite(value) and value >= 0, field, value, "0 or more")
        _require(
            _is_share(self.saturation_floor),
            "saturation_floor",
            self.saturation_floor,
            "from 0 to 1",
        )
        _require(
            _is_share(self.saturation_ceiling) and self.saturation_ceiling >= self.saturation_floor,
            "saturation_ceiling",
            self.saturation_ceiling,
            f"from saturation_floor ({self.saturation_floor}) to 1",
        )
        _require(
            "{slide_id}" in self.mask_pattern,
            "mask_pattern",
            self.mask_pattern,
            "a name that contains {slide_id}",
        )
        _require(
            len(self.tissue_values) > 0, "tissue_values", self.tissue_values, "at least one value"
        )
        if self.mask_dir is not None and self.tissue_geojson is not None:
            raise SettingsError("--mask-dir and --tissue-geojson exclude each other")


@dataclass(frozen=True, kw_only=True)
class TilingSettings:
    """How tissue is cut into regions and patches."""

    region_px: int = 2048
    """Side of a region in pixels at the target spacing."""

    patch_px: int = 256
    """Side of a patch in pixels at the target spacing."""

    grid: Grid = "islands"
    """One grid per island of tissue, or one for the whole slide."""

    min_tissue_fraction: float = 0.10
    """Regions with a smaller tissue fraction are left out."""

    background_below: float = 0.0
    """Patches with at most this tissue fraction are background; 0 means none at all."""

    def __post_init__(self) -> None:
        for field in ("region_px", "patch_px"):
            value = getattr(self, field)
            _require(
                isinstance(value, int) and 0 < value <= 65536,
                field,
                value,
                "a whole number of pixels, 1 to 65536",
            )
        if self.region_px % self.patch_px:
            raise SettingsError(
                "a region must hold a whole number of patches",
                where="--region, --patch",
                found=f"{self.region_px} and {self.patch_px}",
                wanted="a region that is a multiple of the patch",
            )
        _require(
            _is_share(self.min_tissue_fraction),
            "min_tissue_fraction",
            self.min_tissue_fraction,
            "from 0 to 1",
        )
        _require(
            _is_share(self.background_below) and self.background_below < 1,
            "background_below",
            self.background_below,
            "from 0 to below 1",
        )

    @property
    def side(self) -> int:
        """Patches along one side of a region."""
        return self.region_px // self.patch_px


@dataclass(frozen=True, kw_only=True)
class EmbeddingSettings:
    """Which patch encoder runs, on what and how."""

    encoder: str | None = None
    """A timm name, hf-hub:…, a file, a folder, or nothing to take the model's own."""

    attention: Attention = "masked"
    """Embed only patches with tissue (masked) or every patch (plain)."""

    normalisation: Normalisation | None = None
    """Mean and standard deviation of the input; nothing takes the encoder's own."""

    encoder_input: EncoderInput = "auto"
    """Give the encoder patches as they are (native), resized to its training size, or auto."""

    precision: Precision = "auto"
    """Number format of the encoder's arithmetic."""

    device: str = "auto"
    """Where the networks run: auto, cpu, cuda, cuda:1, mps."""

    batch_size: int = 32
    """Patches per step of the encoder."""

    def __post_init__(self) -> None:
        _require(
            isinstance(self.batch_size, int) and self.batch_size >= 1,
            "batch_size",
            self.batch_size,
            "1 or more",
        )


@dataclass(frozen=True, kw_only=True)
class AggregatorSettings:
    """Sizes of the region and slide Transformers; the defaults are the paper's."""

    patch_dim: int = 384
    """Width of a patch's features."""

    region_px: int = 2048
    """Side of a region in pixels."""

    patch_px: int = 256
    """Side of a patch in pixels."""

    position_region_px: int | None = None
    """Region size whose position grid the weights hold; nothing means region_px."""

    region_dim: int = 192
    """Width of the region Transformer."""

    region_depth: int = 6
    """Blocks of the region Transformer."""

    region_heads: int = 6
    """Attention heads of the region Transformer."""

    registers: int = 0
    """Register tokens of the region Transformer."""

    slide_dim: int = 192
    """Width of the slide Transformer."""

    slide_depth: int = 2
    """Layers of the slide Transformer."""

    slide_heads: int = 3
    """Attention heads of the slide Transformer."""

    dropout: float = 0.25
    """Dropout in the slide Transformer while training."""

    outputs: int = 1
    """Numbers that the last layer returns."""

    head: Head = "linear"
    """Last layer: one weight vector per output (linear), or one for all and a bias each (ranks)."""

    def __post_init__(self) -> None:
        for field in (
            "patch_dim",
            "region_px",
            "patch_px",
            "region_dim",
            "region_depth",
            "region_heads",
            "slide_dim",
            "slide_depth",
            "slide_heads",
            "outputs",
        ):
            value = getattr(self, field)
            _require(isinstance(value, int) and value >= 1, field, value, "1 or more")
        _require(
            isinstance(self.registers, int) and self.registers >= 0,
            "registers",
            self.registers,
            "0 or more",
        )
        _require(
            _is_share(self.dropout) and self.dropout < 1,
            "dropout",
            self.dropout,
            "from 0 to below 1",
        )
        _require(
            self.region_px % self.patch_px == 0,
            "region_px",
            self.region_px,
            f"a multiple of patch_px ({self.patch_px})",
        )
        _require(
            self.region_dim % self.region_heads == 0,
            "region_heads",
            self.region_heads,
            f"a divisor of region_dim ({self.region_dim})",
        )
        _require(
            self.slide_dim % self.slide_heads == 0,
            "slide_heads",
            self.slide_heads,
            f"a divisor of slide_dim ({self.slide_dim})",
        )

    @property
    def side(self) -> int:
        """Patches along one side of a region."""
        return self.region_px // self.patch_px

    @property
    def position_side(self) -> int:
        """Side of the learned position grid, int(region · 0.875 / 256) as in the paper's code."""
        return max(int((self.position_region_px or self.region_px) * 0.875 / self.patch_px), 1)


@dataclass(frozen=True, kw_only=True)
class SplitSettings:
    """How slides are divided into folds and a test set."""

    folds: int = 5
    """Parts of cross-validation; each tunes once while the others train."""

    stratify: tuple[str, ...] = ("label",)
    """What every part holds in equal shares: label, or label and columns of the table."""

    test_fraction: float = 0.0
    """Share of the slides set aside for testing before the folds are drawn."""

    seed: int = 0
    """Seed of everything drawn at random."""

    def __post_init__(self) -> None:
        _require(isinstance(self.folds, int) and self.folds >= 2, "folds", self.folds, "2 or more")
        _require(
            bool(self.stratify) and len(set(self.stratify)) == len(self.stratify),
            "stratify",
            ",".join(self.stratify),
            "label, or names of columns with commas between them",
        )
        _require(
            _is_share(self.test_fraction) and self.test_fraction < 1,
            "test_fraction",
            self.test_fraction,
            "from 0 to below 1",
        )
        _require(isinstance(self.seed, int) and self.seed >= 0, "seed", self.seed, "0 or more")


@dataclass(frozen=True, kw_only=True)
class TaskSettings:
    """What a label is, and by which loss the model learns it."""

    task: Task = "isup"
    """ISUP grades 0-5 (isup), other ordered classes (ordinal), or no and yes (binary)."""

    objective: Objective = "regression"
    """Squared error (regression), cross-entropy (classification), or ranks as CORAL (ordinal)."""

    grades: int = 6
    """Number of classes; labels run from 0 to one less."""

    def __post_init__(self) -> None:
        _require(
            isinstance(self.grades, int) and 2 <= self.grades <= 100,
            "grades",
            self.grades,
            "2 to 100 classes",
        )
        fixed = {"isup": 6, "binary": 2}.get(self.task)
        if fixed is not None and self.grades != fixed:
            raise SettingsError(
                f"the task {self.task} has {fixed} classes",
                where="--grades",
                found=self.grades,
                hint="--task ordinal",
            )

    @property
    def outputs(self) -> int:
        """Numbers that the network returns for this objective."""
        counts = {"regression": 1, "classification": self.grades, "ordinal": self.grades - 1}
        return counts[self.objective]

    @property
    def head(self) -> Head:
        """The last layer of this objective."""
        return "ranks" if self.objective == "ordinal" else "linear"


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """How the aggregator is trained; the defaults are the paper's."""

    attention: Attention = "masked"
    """Attend to patches with tissue only (masked) or to all (plain)."""

    epochs: int = 50
    """Passes over the training slides."""

    patience: int | None = None
    """Epochs without a better one after which training ends; nothing trains to the last."""

    learning_rate: float = 2e-4
    """Learning rate of Adam."""

    weight_decay: float = 1e-5
    """Weight decay of Adam."""

    step_epochs: int = 20
    """Epochs after which the learning rate is halved."""

    batch_slides: int = 32
    """Slides whose gradients make one step."""

    micro_batch_tokens: int = 8192
    """Patches and regions computed at once, which bounds memory."""

    precision: Precision = "auto"
    """Number format of the arithmetic; auto is float32, bfloat16 saves memory on a GPU."""

    mean_label_bias: bool = False
    """Start the last layer's bias at the mean label instead of near 0, as the paper does."""

    weighted_sampling: bool = True
    """Draw slides so that every grade is seen equally often."""

    freeze: Literal["none", "region"] = "none"
    """Train everything, or keep the region Transformer as it is."""

    tune_fraction: float = 0.2
    """Share of the labelled slides held out to choose the epoch, where no folds say which."""

    seed: int = 0
    """Seed of everything drawn at random."""

    def __post_init__(self) -> None:
        for field in ("epochs", "step_epochs", "batch_slides", "micro_batch_tokens"):
            value = getattr(self, field)
            _require(isinstance(value, int) and value >= 1, field, value, "1 or more")
        _require(
            self.patience is None or (isinstance(self.patience, int) and self.patience >= 1),
            "patience",
            self.patience,
            "1 or more",
        )
        _require(_is_positive(self.learning_rate), "learning_rate", self.learning_rate, "above 0")
        _require(
            math.isfinite(self.weight_decay) and self.weight_decay >= 0,
            "weight_decay",
            self.weight_decay,
            "0 or more",
        )
        _require(isinstance(self.seed, int) and self.seed >= 0, "seed", self.seed, "0 or more")
        _require(
            self.precision != "float16",
            "precision",
            self.precision,
            "auto, float32 or bfloat16 for training",
        )
        _require(
            _is_share(self.tune_fraction) and 0 < self.tune_fraction < 1,
            "tune_fraction",
            self.tune_fraction,
            "between 0 and 1",
        )


@dataclass(frozen=True, kw_only=True)
class HeatmapSettings:
    """What a heatmap shows and how it is painted."""

    head: int | None = None
    """Attention head to show, 0 first; nothing averages all."""

    scale: Scale = "relative"
    """relative (1 is uniform within a region), rank, minmax or raw."""

    combine: Combine = "region"
    """Attention within each region, or that times the region's weight in the slide."""

    colour_map: str = "viridis"
    """Matplotlib colour map."""

    opacity: float = 0.5
    """Opacity of the colours over the slide, 0-1."""

    max_px: int = 2048
    """Longer side of the picture in pixels."""

    tissue_only: bool = False
    """Hide glass that a plain model saw; the caption says so."""

    smooth: bool = False
    """Smooth within each region instead of showing the patches as they are."""

    outline: bool = False
    """Draw the borders of the regions."""

    colour_range: tuple[float, float] | None = None
    """Ends of the colours; nothing takes 0-3 for relative, 0 to the largest for raw, else 0-1."""

    def __post_init__(self) -> None:
        _require(_is_share(self.opacity), "opacity", self.opacity, "from 0 to 1")
        _require(
            isinstance(self.max_px, int) and 320 <= self.max_px <= 65500,
            "size",
            self.max_px,
            "320 to 65500 pixels",
        )
        _require(self.head is None or self.head >= 0, "head", self.head, "0 or more")
        if self.colour_range is not None:
            low, high = self.colour_range
            _require(
                math.isfinite(low) and math.isfinite(high) and low < high,
                "colour_range",
                self.colour_range,
                "two numbers, the lower first",
            )


def as_recipe(settings: Any) -> dict[str, Any]:
    """A settings instance as plain JSON values, paths as text, for storing beside outputs."""
    plain: dict[str, Any] = {}
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if isinstance(value, Path):
            value = str(value)
        elif isinstance(value, tuple):
            value = list(value)
        plain[field.name] = value
    return plain


def from_recipe(kind: type[S], recipe: dict[str, Any]) -> S:
    """The settings that `as_recipe` made, checked again.

    Raises:
        SettingsError: An entry is unknown or out of range.
    """
    known = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(recipe) - set(known))
    if unknown:
        raise SettingsError(f"{kind.__name__} has no such setting", found=", ".join(unknown))
    values: dict[str, Any] = {}
    for name, value in recipe.items():
        if isinstance(value, list):
            value = tuple(value)
        elif isinstance(value, str) and "Path" in str(known[name].type):
            value = Path(value)
        values[name] = value
    try:
        return kind(**values)
    except TypeError as error:
        raise SettingsError(f"{kind.__name__} cannot hold these values", found=recipe) from error


@cache
def _sentences(kind: type) -> dict[str, str]:
    (declaration,) = ast.parse(inspect.cleandoc(inspect.getsource(kind))).body
    assert isinstance(declaration, ast.ClassDef)
    found = {}
    for field, text in zip(declaration.body, declaration.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
        ):
            found[field.target.id] = str(text.value.value)
    return found


def sentence(kind: type, field: str) -> str:
    """The sentence written under a field of a settings class."""
    return _sentences(kind)[field]
