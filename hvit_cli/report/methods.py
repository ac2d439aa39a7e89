"""The methods paragraphs: what was done, in sentences, from the recipes and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from hvit_cli.settings import AggregatorSettings, Attention


@dataclass(frozen=True, kw_only=True)
class MethodFacts:
    """What the sentences need; each number as a recipe, a model or a slide has it.

    Attributes:
        slides: Number of slides.
        spacing_um: Target spacing.
        spacing_tolerance: Largest relative difference at which pixels are used unchanged.
        achieved_um: Lowest and highest achieved spacing, or None where nothing was read.
        decoders: The libraries that decoded the slides' pixels, with their versions.
        tissue_source: segmented, external or geojson, of every slide; mixed ones are all named.
        tissue: Settings of the segmentation, by name.
        region_px: Side of a region.
        patch_px: Side of a patch.
        grid: islands or slide.
        min_tissue_fraction: Of a region.
        background_below: Patches with at most this tissue fraction are background.
        encoder: The patch encoder's name.
        encoder_hash: SHA-256 over its weights.
        precision: Number format of its arithmetic.
        normalisation: Mean and standard deviation of the input, as text.
        aggregator: Sizes of both Transformers.
        model: The model's name.
        members: How many aggregators ran, by attention.
        trained: The attention each of them was trained with.
        notes: What must be said beside the results.
        objective: regression, classification or ordinal.
        grades: Number of classes.
        map_caption: How the maps were made, or "".
        versions: Software by name.
        token_px: Side of the encoder's tokens, where those without tissue were masked.
    """

    slides: int
    spacing_um: float
    spacing_tolerance: float
    achieved_um: tuple[float, float] | None
    decoders: Sequence[str]
    tissue_source: Sequence[str]
    tissue: Mapping[str, float]
    region_px: int
    patch_px: int
    grid: str
    min_tissue_fraction: float
    background_below: float
    encoder: str
    encoder_hash: str
    precision: str
    normalisation: str
    aggregator: AggregatorSettings
    model: str
    members: Mapping[Attention, int]
    trained: Mapping[Attention, Sequence[Attention]]
    notes: Sequence[str]
    objective: str
    grades: int
    map_caption: str
    versions: Mapping[str, str]
    token_px: int | None = None


def merged(facts: Sequence[MethodFacts]) -> MethodFacts | None:
    """What was done to several slides of one run; None for none."""
    if not facts:
        return None
    achieved = [one.achieved_um for one in facts if one.achieved_um is not None]
    return replace(
        facts[0],
        slides=sum(one.slides for one in facts),
        achieved_um=(min(low for low, _ in achieved), max(high for _, high in achieved))
        if achieved
        else None,
        decoders=tuple(dict.fromkeys(name for one in facts for name in one.decoders)),
        tissue_source=tuple(dict.fromkeys(kind for one in facts for kind in one.tissue_source)),
    )


def paragraphs(facts: MethodFacts) -> list[str]:
    """The sentences, a paragraph for slides, for the model, for maps and for software."""
    return [
        " ".join([_reading(facts), _decoding(facts), *_tissue(facts), _tiling(facts)]),
        " ".join([_encoder(facts), _aggregator(facts), *_attention(facts), _grade(facts)]),
        *([facts.map_caption] if facts.map_caption else []),
        _software(facts),
    ]


def _reading(facts: MethodFacts) -> str:
    what = "The slide was" if facts.slides == 1 else f"{facts.slides} slides were"
    said = (
        f"{what} read at a target spacing of {facts.spacing_um:.4g} µm per pixel; pixels of a "
        f"level within {100 * facts.spacing_tolerance:.3g} % of it were used unchanged, others "
        "reduced by area averaging"
    )
    if facts.achieved_um is None:
        return f"{said}."
    low, high = (f"{value:.4g}" for value in facts.achieved_um)
    between = low if low == high else f"{low} to {high}"
    return f"{said} (achieved: {between} µm per pixel)."


def _decoding(facts: MethodFacts) -> str:
    return f"Pixels were decoded by {' and '.join(facts.decoders)}."


def _tissue(facts: MethodFacts) -> list[str]:
    settings = facts.tissue
    said = []
    if "segmented" in facts.tissue_source:
        said.append(
            f"Tissue was segmented near {settings['segment_spacing_um']:g} µm per pixel: "
            "saturation in HSV, median "
            f"filter of {settings['median_um']:g} µm, Otsu's threshold kept between "
            f"{settings['saturation_floor']:g} and {settings['saturation_ceiling']:g}, closing of "
            f"{settings['closing_um']:g} µm; pieces below {settings['min_tissue_mm2']:g} mm² were "
            f"removed, holes up to {settings['max_hole_mm2']:g} mm² filled, and pen marks rejected "
            "by hue."
        )
    if "external" in facts.tissue_source:
        said.append("Tissue was taken from external masks.")
    if "geojson" in facts.tissue_source:
        said.append("Tissue was taken from outlines in GeoJSON.")
    return said


def _tiling(facts: MethodFacts) -> str:
    side_um = facts.region_px * facts.spacing_um
    per_region = (facts.region_px // facts.patch_px) ** 2
    grid = "a grid for each island of tissue" if facts.grid == "islands" else "one grid"
    background = (
        "without any tissue"
        if facts.background_below == 0
        else f"with a tissue fraction of at most {facts.background_below:g}"
    )
    return (
        f"Non-overlapping regions of {facts.region_px} × {facts.region_px} px ({side_um:g} µm) "
        f"were laid on {grid} and kept from a tissue fraction of {facts.min_tissue_fraction:g} on. "
        f"Each was divided into {per_region} patches of {facts.patch_px} × {facts.patch_px} px; "
        f"patches {background} count as background."
    )


def _encoder(facts: MethodFacts) -> str:
    return (
        f"Patches were embedded by the encoder {facts.encoder} ({facts.aggregator.patch_dim} "
        f"features, weights {facts.encoder_hash[:12]}, arithmetic in {facts.precision}, input "
        f"normalised with {facts.normalisation})." + _tokens(facts)
    )


def _tokens(facts: MethodFacts) -> str:
    if facts.token_px is None:
        return ""
    return (
        f" Its tokens, squares of {facts.token_px} × {facts.token_px} px, were masked in every "
        "layer where they hold no tissue."
    )


def _aggregator(facts: MethodFacts) -> str:
    sizes = facts.aggregator
    registers = f", {sizes.registers} registers" if sizes.registers else ""
    return (
        f"The model {facts.model} read them with a region Transformer "
        f"({sizes.region_depth} blocks, width {sizes.region_dim}, {sizes.region_heads} heads"
        f"{registers}) and a slide Transformer ({sizes.slide_depth} layers, width "
        f"{sizes.slide_dim}, {sizes.slide_heads} heads) with gated attention pooling."
    )


def _attention(facts: MethodFacts) -> list[str]:
    what = {
        "masked": "with masked attention, background patches are hidden from the region "
        "Transformer before the softmax and have no part in the score",
        "plain": "with plain attention, every patch of a region is attended to, glass included",
    }
    said = []
    for kind, count in facts.members.items():
        several = f"the mean of {count} members" if count > 1 else "one member"
        trained = ", ".join(dict.fromkeys(facts.trained[kind]))
        otherwise = f", trained with {trained} attention" if trained != kind else ""
        sentence = f"{what[kind]} ({several}{otherwise})."
        said.append(sentence[0].upper() + sentence[1:])
    return said


def _grade(facts: MethodFacts) -> str:
    if facts.objective == "regression":
        how = "The grade is the score"
    else:
        how = f"The score is the expected class of the {facts.objective}; the grade is the score"
    spread = (
        " ± is the standard deviation over the members (ddof 1)."
        if max(facts.members.values(), default=1) > 1
        else ""
    )
    return f"{how}, rounded half to even and kept within 0 to {facts.grades - 1}.{spread}"


def _software(facts: MethodFacts) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in facts.versions.items())
    notes = "".join(f" {note[:1].upper()}{note[1:]}".rstrip(".") + "." for note in facts.notes)
    return (
        f"Computed with {versions}, after Grisi, van der Laak and Litjens, Masked Attention as a "
        f"Mechanism for Improving Interpretability of Vision Transformers.{notes}"
    )
