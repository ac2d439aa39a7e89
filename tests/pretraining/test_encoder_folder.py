from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from torch import nn

from hvit_cli.errors import ModelError
from hvit_cli.models.encoder_specs import EncoderSpec
from hvit_cli.models.encoders import PatchEncoder
from hvit_cli.models.named_encoder import load_encoder
from hvit_cli.models.vit import VisionTransformer, VitShape
from hvit_cli.pretraining.encoder_folder import write_encoder_folder
from hvit_cli.storage.recipe import recipe_of
from hvit_cli.training.leaks import pretraining_slides

SPEC = EncoderSpec(
    name="own",
    width=24,
    input_px=32,
    token_px=16,
    spacing_um=0.5,
    mean=(0.7, 0.6, 0.5),
    std=(0.2, 0.2, 0.25),
    licence="CC0",
    pretraining="DINO on three drawings",
    pretraining_slides=("a", "007", "c"),
)
RECIPE = recipe_of(settings={"epochs": 3, "nested": {"x": [1, 2]}}, inputs={"slides": {"a": 1}})
RECORDS: list[dict[str, object]] = [
    {"epoch": 1, "loss": 9.0, "probe": None},
    {"epoch": 2, "loss": 8.123456, "probe": 0.5},
]
PATCHES = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)


def own() -> VisionTransformer:
    torch.manual_seed(0)
    return VisionTransformer(VitShape(width=24, depth=2, heads=3, grid_side=2))


def timms() -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model(
        "vit_tiny_patch16_224",
        num_classes=0,
        dynamic_img_size=True,
        img_size=32,
        embed_dim=24,
        depth=2,
        num_heads=3,
    )


@pytest.mark.parametrize("make", [own, timms])
def test_a_folder_is_loaded_as_what_was_written(
    make: Callable[[], nn.Module], tmp_path: Path
) -> None:
    network = make()
    network.train()
    write_encoder_folder(
        tmp_path / "enc", network, SPEC, recipe=RECIPE, records=RECORDS, notes=["b was skipped"]
    )
    loaded = load_encoder(tmp_path / "enc")
    assert loaded.spec == SPEC
    expected = PatchEncoder(network.eval(), SPEC).embed(PATCHES)
    np.testing.assert_allclose(loaded.embed(PATCHES), expected, atol=1e-5)
    larger = np.tile(PATCHES, (1, 2, 2, 1))
    np.testing.assert_allclose(
        loaded.embed(larger), PatchEncoder(network, SPEC).embed(larger), atol=1e-5
    )
    assert pretraining_slides(tmp_path / "features", str(tmp_path / "enc")) == {"a", "007", "c"}
    assert json.loads((tmp_path / "enc/recipe.json").read_text()) == RECIPE


def test_the_card_tells_what_a_user_must_know(tmp_path: Path) -> None:
    write_encoder_folder(
        tmp_path / "enc", own(), SPEC, recipe=RECIPE, records=RECORDS, notes=["b was skipped"]
    )
    card = (tmp_path / "enc/README.md").read_text()
    for said in (
        "not a medical device",
        "Trained on 3 slides",
        "- 007",
        "b was skipped",
        '"epochs": 3',
        "| loss | 9 | 8.123 |",
        "0.5 µm per pixel",
        "CC0",
        "DINO on three drawings",
        "What must not be claimed",
        "hvit embed SLIDES --encoder enc",
    ):
        assert said in card, said


def test_a_long_list_of_slides_is_cut_in_the_card_alone(tmp_path: Path) -> None:
    slides = tuple(f"slide{n:03d}" for n in range(90))
    spec = EncoderSpec(name="own", width=24, input_px=32, token_px=16, pretraining_slides=slides)
    write_encoder_folder(tmp_path, own(), spec, recipe=RECIPE)
    assert "and 70 more" in (tmp_path / "README.md").read_text()
    assert load_encoder(tmp_path).spec.pretraining_slides == slides


def test_what_would_be_no_honest_encoder_is_not_written(tmp_path: Path) -> None:
    nameless = EncoderSpec(name="own", width=24, input_px=32, token_px=16)
    with pytest.raises(ModelError, match="without the slides it was trained on"):
        write_encoder_folder(tmp_path / "enc", own(), nameless, recipe=RECIPE)
    broken = own()
    with torch.no_grad():
        broken.norm.bias[0] = torch.inf
    with pytest.raises(ModelError, match=r"not finite.*norm\.bias"):
        write_encoder_folder(tmp_path / "enc", broken, SPEC, recipe=RECIPE)
    with pytest.raises(ModelError, match="found Linear"):
        write_encoder_folder(tmp_path / "enc", nn.Linear(2, 2), SPEC, recipe=RECIPE)
    assert not (tmp_path / "enc").exists()


def test_a_run_killed_while_it_writes_leaves_no_encoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_encoder_folder(tmp_path, own(), SPEC, recipe=RECIPE)

    def killed(*_: object, **__: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("hvit_cli.pretraining.encoder_folder.encoder_card", killed)
    with pytest.raises(KeyboardInterrupt):
        write_encoder_folder(tmp_path, own(), SPEC, recipe=RECIPE)
    with pytest.raises(ModelError, match="the folder is no encoder"):
        load_encoder(tmp_path)


def test_a_record_beside_timms_config_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    write_encoder_folder(tmp_path, timms(), SPEC, recipe=RECIPE)
    file = tmp_path / "encoder.json"
    for text, said in (
        ("{", "cannot be read"),
        ('{"kind": "hvit-encoder", "schema": 1}', "wanted hvit-timm-encoder version 1"),
        ('{"kind": "hvit-timm-encoder", "schema": 1}', "cannot be used"),
    ):
        file.write_text(text)
        with pytest.raises(ModelError, match=said):
            load_encoder(tmp_path)
    # Without it the folder is anybody's timm folder.
    file.unlink()
    assert load_encoder(tmp_path).spec.pretraining_slides == ()
