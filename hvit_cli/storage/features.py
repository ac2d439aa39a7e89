"""`features/<encoder>-<recipe8>/<slide_id>.h5`: one slide's patch features, sparse.

A background patch has no row. Regions stand on their own, so a region without rows is legal
and still counts.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from hvit_cli.errors import DamagedFileError, ModelError
from hvit_cli.settings import Attention, MaskLevel
from hvit_cli.storage.arrays import read_arrays, require_arrays, write_arrays
from hvit_cli.storage.recipe import Recipe, recipe_text

KIND = "hvit-features"
SCHEMA = 1
Patches = Literal["tissue", "all"]

_FORMS: dict[str, tuple[type[np.generic], int]] = {
    "features": (np.float16, 2),
    "coords": (np.int64, 2),
    "region_index": (np.int64, 1),
    "patch_index": (np.int64, 1),
    "tissue_fraction": (np.float32, 1),
    "region_xy_level0": (np.int64, 2),
    "region_tissue_fraction": (np.float32, 1),
}
# Of features that were embedded without the tokens that hold no tissue, and of no others, so that
# files from before there were such stay what they are.
_TOKEN_BITS = "token_bits"
_OF_TOKENS = ("mask_level", "token_px")


@dataclass(frozen=True, kw_only=True)
class SlideFeatures:
    """Features of P embedded patches of a slide with M regions of K patches.

    Attributes:
        slide_id: The slide's name without suffix.
        features: (P, D) float16.
        coords: (P, 2) int64, top-left corners (x, y) in level-0 pixels.
        region_index: (P,) int64, 0 … M-1, ascending.
        patch_index: (P,) int64, 0 … K-1, ascending within a region.
        tissue_fraction: (P,) float32; at most `background_below` means background.
        region_xy_level0: (M, 2) int64.
        region_tissue_fraction: (M,) float32.
        patches: Whether only patches with tissue were embedded, or all.
        patches_per_region: K.
        background_below: See TilingSettings.
        encoder: The encoder's name, a folder-safe text.
        encoder_hash: SHA-256 over the encoder's weights.
        normalisation: JSON text of the input's mean and standard deviation.
        precision: Number format of the encoder's arithmetic.
        region_px: Side of a region in pixels at the achieved spacing.
        patch_px: Side of a patch in the same pixels.
        patch_level0: Side of a patch in level-0 pixels, not rounded.
        size_level0: (width, height) of the slide in level-0 pixels.
        spacing_um_level0: Micrometres per level-0 pixel.
        spacing_um_target: The spacing asked for.
        spacing_um: The spacing achieved.
        tissue_mm2: Tissue area of the slide in mm².
        tissue_dropped_mm2: Tissue area outside the regions in mm².
        recipe: What decided the content.
        mask_level: What was masked: patches (region), tokens of the patch encoder, or both.
        token_px: Side of a token in pixels of the patch, where tokens were masked.
        token_bits: (P, ⌈N/8⌉) uint8 where tokens were masked: which of the N tokens of each
            patch hold tissue, row by row, eight to a byte, the first one its highest bit.
    """

    slide_id: str
    features: npt.NDArray[np.float16]
    coords: npt.NDArray[np.int64]
    region_index: npt.NDArray[np.int64]
    patch_index: npt.NDArray[np.int64]
    tissue_fraction: npt.NDArray[np.float32]
    region_xy_level0: npt.NDArray[np.int64]
    region_tissue_fraction: npt.NDArray[np.float32]
    patches: Patches
    patches_per_region: int
    background_below: float
    encoder: str
    encoder_hash: str
    normalisation: str
    precision: str
    region_px: int
    patch_px: int
    patch_level0: float
    size_level0: tuple[int, int]
    spacing_um_level0: float
    spacing_um_target: float
    spacing_um: float
    tissue_mm2: float
    tissue_dropped_mm2: float
    recipe: Recipe
    mask_level: MaskLevel = "region"
    token_px: int | None = None
    token_bits: npt.NDArray[np.uint8] | None = None

    @property
    def tokens(self) -> npt.NDArray[np.bool_] | None:
        """(P, N) the tokens of each patch that its features were computed from; None for all."""
        if self.token_bits is None or self.token_px is None:
            return None
        count = (self.patch_px // self.token_px) ** 2
        return np.unpackbits(self.token_bits, axis=1, count=count).astype(bool)

    @property
    def n_regions(self) -> int:
        """M, the number of regions, those without rows included."""
        return len(self.region_xy_level0)

    @property
    def region_level0(self) -> float:
        """Side of a region in level-0 pixels, not rounded."""
        return self.patch_level0 * (self.region_px // self.patch_px)

    def visible(self, attention: Attention) -> npt.NDArray[np.bool_]:
        """(P,) the rows that a model of this attention kind sees.

        Raises:
            ModelError: Plain attention needs every patch, and only tissue was embedded.
        """
        if attention == "plain":
            if self.patches == "tissue":
                raise ModelError(
                    "these features hold only patches with tissue, and plain attention sees all",
                    where=self.slide_id,
                    hint="hvit embed --plain, whose files serve masked attention as well",
                )
            return np.ones(len(self.features), bool)
        return self.tissue_fraction > self.background_below


def write_features(path: Path, slide: SlideFeatures) -> None:
    """Writes a feature file, whole or not at all."""
    magnification = round(10 / slide.spacing_um_target)
    scalars = {
        field: getattr(slide, field)
        for field in SlideFeatures.__dataclass_fields__
        if field not in _FORMS and field not in ("size_level0", "recipe", _TOKEN_BITS, *_OF_TOKENS)
    }
    arrays: dict[str, npt.NDArray[Any]] = {name: getattr(slide, name) for name in _FORMS}
    if slide.token_bits is not None:
        arrays[_TOKEN_BITS] = slide.token_bits
        scalars |= {name: getattr(slide, name) for name in _OF_TOKENS}
    write_arrays(
        path,
        arrays,
        {
            "kind": KIND,
            "schema": SCHEMA,
            **scalars,
            "region_level0": slide.region_level0,
            "width_level0": slide.size_level0[0],
            "height_level0": slide.size_level0[1],
            "n_regions": slide.n_regions,
            "n_patches": len(slide.features),
            "recipe": recipe_text(slide.recipe),
        },
        # What readers of CLAM's and TRIDENT's files look for beside the coordinates. TRIDENT
        # takes the side of a patch at level 0 from the ratio of the two magnifications.
        {
            "coords": {
                "name": slide.slide_id,
                "patch_size": slide.patch_px,
                "patch_size_level0": round(slide.patch_level0),
                "level0_width": slide.size_level0[0],
                "level0_height": slide.size_level0[1],
                "level0_magnification": magnification * slide.patch_level0 / slide.patch_px,
                "target_magnification": magnification,
                "overlap": 0,
            }
        },
    )


def read_features(path: Path) -> SlideFeatures:
    """Reads a feature file.

    Raises:
        StorageError: There is no such file.
        DamagedFileError: The file is not a complete, unaltered feature file.
    """
    arrays, attributes = read_arrays(path, KIND, SCHEMA)
    require_arrays(path, arrays, _FORMS)
    if _TOKEN_BITS in arrays:
        require_arrays(path, arrays, {_TOKEN_BITS: (np.uint8, 2)})
    try:
        slide = _slide_features(arrays, attributes)
    except (KeyError, ValueError, TypeError) as error:
        raise DamagedFileError(
            "an attribute is missing or wrong", where=path, found=error
        ) from error
    _require_consistent(path, slide, attributes)
    return slide


def _slide_features(arrays: dict[str, Any], attributes: dict[str, Any]) -> SlideFeatures:
    texts = ("slide_id", "patches", "encoder", "encoder_hash", "normalisation", "precision")
    whole = ("patches_per_region", "region_px", "patch_px")
    real = (
        "background_below",
        "patch_level0",
        "spacing_um_level0",
        "spacing_um_target",
        "spacing_um",
        "tissue_mm2",
        "tissue_dropped_mm2",
    )
    # The type of each field is that of its group of names, which a checker cannot see.
    return SlideFeatures(
        **{name: arrays[name] for name in _FORMS},
        **{name: str(attributes[name]) for name in texts},  # type: ignore[arg-type]
        **{name: int(attributes[name]) for name in whole},  # type: ignore[arg-type]
        **{name: float(attributes[name]) for name in real},  # type: ignore[arg-type]
        size_level0=(int(attributes["width_level0"]), int(attributes["height_level0"])),
        recipe=json.loads(attributes["recipe"]),
        mask_level=attributes.get("mask_level", "region"),
        token_px=int(attributes["token_px"]) if "token_px" in attributes else None,
        token_bits=arrays.get(_TOKEN_BITS),
    )


def _require_consistent(path: Path, slide: SlideFeatures, attributes: dict[str, Any]) -> None:
    rows = len(slide.features)
    problem = ""
    if attributes.get("n_patches") != rows or attributes.get("n_regions") != slide.n_regions:
        problem = "other numbers of rows than announced"
    elif any(len(getattr(slide, name)) != rows for name in list(_FORMS)[:5]):
        problem = "arrays of different lengths"
    elif slide.patches not in ("tissue", "all"):
        problem = f"patches = {slide.patches!r}"
    elif token_problem := _token_problem(slide):
        problem = token_problem
    elif rows:
        position = slide.region_index * slide.patches_per_region + slide.patch_index
        if (
            np.any(np.diff(position) <= 0)
            or slide.region_index[0] < 0
            or slide.region_index[-1] >= slide.n_regions
            or slide.patch_index.min() < 0
            or slide.patch_index.max() >= slide.patches_per_region
        ):
            problem = "region and patch indices out of order or range"
    if problem:
        raise DamagedFileError("the feature file contradicts itself", where=path, found=problem)


def _token_problem(slide: SlideFeatures) -> str:
    """What contradicts itself about tokens; "" for nothing."""
    if slide.mask_level == "region":
        return "" if slide.token_bits is None else "tokens that no mask level speaks of"
    if slide.mask_level not in ("patch", "both"):
        return f"mask_level = {slide.mask_level!r}"
    if slide.token_bits is None or not slide.token_px or slide.token_px < 0:
        return f"mask_level = {slide.mask_level!r} without tokens"
    wanted = (len(slide.features), -((slide.patch_px // slide.token_px) ** 2 // -8))
    if slide.token_bits.shape != wanted:
        return f"token_bits of shape {slide.token_bits.shape}"
    return ""
