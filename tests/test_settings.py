from __future__ import annotations

import dataclasses
import inspect
from pathlib import Path

import pytest

from hvit_cli import settings
from hvit_cli.errors import SettingsError
from hvit_cli.settings import (
    AggregatorSettings,
    AugmentationSettings,
    CropSettings,
    LabelScheme,
    PretrainingSettings,
    ProbeSettings,
    ReadingSettings,
    TilingSettings,
    TissueSettings,
    as_recipe,
    from_recipe,
    sentence,
)

CLASSES = [
    kind
    for _, kind in inspect.getmembers(settings, inspect.isclass)
    if dataclasses.is_dataclass(kind) and kind.__module__.startswith(settings.__name__)
]
# What has no default, because nobody can guess it.
REQUIRED: dict[type, dict[str, object]] = {
    LabelScheme: {"tumour_values": (3, 4), "other_values": (1,)}
}


@pytest.mark.parametrize("kind", CLASSES)
def test_every_field_has_a_sentence(kind: type) -> None:
    for field in dataclasses.fields(kind):
        assert sentence(kind, field.name).strip().endswith("."), field.name


@pytest.mark.parametrize("kind", CLASSES)
def test_settings_are_frozen_and_survive_their_recipe(kind: type) -> None:
    made = kind(**REQUIRED.get(kind, {}))
    assert from_recipe(kind, as_recipe(made)) == made
    name = dataclasses.fields(kind)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(made, name, 1)


def test_paths_and_tuples_survive_their_recipe() -> None:
    made = TissueSettings(mask_dir=Path("masks"), tissue_values=(1, 2))
    assert as_recipe(made)["mask_dir"] == "masks"
    assert from_recipe(TissueSettings, as_recipe(made)) == made


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (ReadingSettings, {"spacing_um": 0}),
        (ReadingSettings, {"spacing_um": float("nan")}),
        (ReadingSettings, {"spacing_tolerance": -0.1}),
        (TilingSettings, {"region_px": 0}),
        (TilingSettings, {"region_px": 2000}),
        (TilingSettings, {"min_tissue_fraction": 1.5}),
        (TissueSettings, {"mask_pattern": "mask.tiff"}),
        (TissueSettings, {"mask_dir": Path("a"), "tissue_geojson": Path("b")}),
        (AggregatorSettings, {"region_dim": 100}),
        (CropSettings, {"global_crops": 1}),
        (CropSettings, {"local_scale": (0.4, 0.05)}),
        (CropSettings, {"global_scale": (0.0, 1.0)}),
        (AugmentationSettings, {"hue": 0.6}),
        (AugmentationSettings, {"blur_probability": (1.0, 0.1, 1.5)}),
        (AugmentationSettings, {"stain_jitter": 1.0}),
        (PretrainingSettings, {"warmup_epochs": 100}),
        (PretrainingSettings, {"heads": 5}),
        (PretrainingSettings, {"batch": 0}),
        (PretrainingSettings, {"teacher_temperature": 0.0}),
        (PretrainingSettings, {"drop_path": 1.0}),
        (PretrainingSettings, {"precision": "float16"}),
        (ProbeSettings, {"neighbours": 0}),
    ],
)
def test_impossible_values_are_refused_at_birth(kind: type, values: dict[str, object]) -> None:
    with pytest.raises(SettingsError):
        kind(**values)


def test_an_unknown_entry_of_a_recipe_is_named() -> None:
    with pytest.raises(SettingsError, match="colour"):
        from_recipe(TilingSettings, {"colour": "red"})


@pytest.mark.parametrize(("region_px", "side"), [(2048, 7), (4096, 14), (1024, 3), (256, 1)])
def test_the_position_grid_is_the_original_formula(region_px: int, side: int) -> None:
    assert AggregatorSettings(region_px=region_px).position_side == side
