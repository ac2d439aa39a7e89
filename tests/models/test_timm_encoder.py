from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import save_file

from hvit_cli.errors import ModelError
from hvit_cli.models.encoder_specs import KNOWN_ENCODERS
from hvit_cli.models.named_encoder import load_encoder
from hvit_cli.models.timm_encoder import TimmEncoder


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


def write_timm_folder(folder: Path, architecture: str, size: int, **arguments: Any) -> Any:
    torch.manual_seed(0)
    model = timm.create_model(architecture, num_classes=0, **arguments).eval()
    folder.mkdir()
    save_file(model.state_dict(), folder / "model.safetensors")
    config = {
        "architecture": architecture,
        "num_classes": 0,
        "model_args": arguments,
        "pretrained_cfg": {
            "input_size": [3, size, size],
            "mean": [0.7, 0.6, 0.5],
            "std": [0.2, 0.2, 0.25],
            "num_classes": 0,
        },
    }
    (folder / "config.json").write_text(json.dumps(config))
    return model


def test_a_timm_folder_keeps_timms_way(tmp_path: Path) -> None:
    vit = {"embed_dim": 24, "depth": 2, "num_heads": 3, "img_size": 32}
    model = write_timm_folder(tmp_path / "vit", "vit_small_patch16_224", 32, **vit)
    encoder = load_encoder(tmp_path / "vit")
    assert (encoder.spec.name, encoder.spec.width) == ("vit", 24)
    assert (encoder.spec.input_px, encoder.spec.token_px) == (32, 16)
    assert (encoder.mean, encoder.std) == ((0.7, 0.6, 0.5), (0.2, 0.2, 0.25))
    assert encoder.input_recipe()["positions"] == "timm"
    patches = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    pixels = (patches / 255.0 - encoder.mean) / encoder.std
    with torch.no_grad():
        expected = model(torch.from_numpy(pixels.transpose(0, 3, 1, 2)).float())
    np.testing.assert_allclose(encoder.embed(patches), expected, atol=1e-5)
    larger = np.random.default_rng(1).integers(0, 256, (2, 64, 64, 3), np.uint8)
    assert encoder.network_px(64) == 64
    assert encoder.embed(larger).shape == (2, 24)


def test_a_network_without_tokens_is_given_its_own_size(tmp_path: Path) -> None:
    write_timm_folder(tmp_path / "cnn", "resnet10t", 64)
    encoder = load_encoder(tmp_path / "cnn")
    assert (encoder.spec.token_px, encoder.network_px(48)) == (None, 64)
    assert encoder.embed(np.zeros((1, 48, 48, 3), np.uint8)).shape == (1, encoder.spec.width)


def test_cls_and_mean_are_what_they_say() -> None:
    torch.manual_seed(0)
    arguments = {"embed_dim": 24, "depth": 1, "num_heads": 3, "reg_tokens": 2}
    model = timm.create_model("vit_small_patch16_224", num_classes=0, **arguments).eval()
    x = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        tokens = model.forward_features(x)
        both = TimmEncoder(model, "cls+mean")(x)
    torch.testing.assert_close(both[:, :24], tokens[:, 0])
    torch.testing.assert_close(both[:, 24:], tokens[:, 3:].mean(1))


def test_a_hub_that_cannot_be_reached_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown_host(*_: object) -> None:
        raise socket.gaierror("no such host")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("urllib.request.getproxies", dict)
    monkeypatch.setattr(socket, "getaddrinfo", unknown_host)
    for name in ("vit_small_patch16_224.dino", "hf-hub:MahmoodLab/uni"):
        with pytest.raises(ModelError) as caught:
            load_encoder(name)
        message = str(caught.value)
        assert message.startswith(f"{name}: the encoder's weights cannot be downloaded")
        assert "huggingface.co" in message and "HF_HUB_OFFLINE=1" in message
        assert "\n" not in message


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("vit_small_patch16_224.dino", "LocalEntryNotFoundError"),
        ("hf-hub:nobody/nothing", "LocalEntryNotFoundError"),
        ("vit_small_patch16_18x2_224", "No pretrained weights exist"),
        ("vit_small_patch16_224.nonsense", "Invalid pretrained tag"),
    ],
)
@pytest.mark.usefixtures("offline")
def test_without_pretrained_weights_there_is_no_encoder(
    name: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError) as caught:
        load_encoder(name)
    assert str(caught.value).startswith(f"{name}: the encoder cannot be loaded")
    assert reason in str(caught.value)


@pytest.mark.parametrize("name", ["vit_nonexistent", "folder/that/is/not.there", ""])
def test_a_name_of_nothing_is_told_without_asking_the_hub(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=r"no such encoder|folder is no encoder"):
        load_encoder(name)


@pytest.mark.parametrize("spec", KNOWN_ENCODERS, ids=lambda spec: spec.name)
def test_known_encoders_agree_with_timms_own_configuration(spec: Any) -> None:
    assert all(0 < s <= 1 for s in (*spec.mean, *spec.std))
    assert spec.licence and spec.pretraining
    if spec.name.startswith("hf-hub:"):
        return
    assert timm.is_model_pretrained(spec.name)
    config = timm.get_pretrained_cfg(spec.name)
    assert (spec.mean, spec.std) == (config.mean, config.std)
    assert spec.input_px == config.input_size[-1]
    model = timm.create_model(spec.name, pretrained=False, num_classes=0)
    assert spec.width == model.num_features
