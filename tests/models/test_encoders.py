from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from safetensors.torch import save_file

from hvit_cli.errors import CheckpointError, ModelError
from hvit_cli.models.encoder_specs import EncoderSpec
from hvit_cli.models.encoders import PatchEncoder, hash_weights
from hvit_cli.models.local_encoder import describe_vit
from hvit_cli.models.named_encoder import load_encoder
from hvit_cli.models.vit import VisionTransformer, VitShape

SHAPE = VitShape(width=192, depth=2, heads=3, token_px=16, grid_side=2)
SPEC = EncoderSpec(
    name="small one",
    width=192,
    input_px=32,
    token_px=16,
    spacing_um=0.5,
    mean=(0.7, 0.5, 0.6),
    std=(0.2, 0.25, 0.2),
    licence="Apache-2.0",
    pretraining="drawings",
)


@pytest.fixture(scope="module")
def network() -> VisionTransformer:
    torch.manual_seed(0)
    network = VisionTransformer(SHAPE).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return network


@pytest.fixture(scope="module")
def patches() -> npt.NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), np.uint8)


def write_folder(folder: Path, network: VisionTransformer) -> Path:
    folder.mkdir()
    save_file(network.state_dict(), folder / "encoder.safetensors")
    (folder / "encoder.json").write_text(json.dumps(describe_vit(network.shape, SPEC)))
    return folder


def test_embedding_is_the_network_on_normalised_pixels(
    network: VisionTransformer, patches: npt.NDArray[np.uint8]
) -> None:
    encoder = PatchEncoder(network, SPEC)
    pixels = (patches.astype(np.float64) / 255 - SPEC.mean) / SPEC.std
    with torch.no_grad():
        expected = network(torch.from_numpy(pixels.transpose(0, 3, 1, 2)).float())
    embedded = encoder.embed(patches)
    assert embedded.dtype == np.float32 and embedded.shape == (5, 192)
    np.testing.assert_allclose(embedded, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("normalisation", "mean", "std"),
    [
        (None, SPEC.mean, SPEC.std),
        ("imagenet", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ("half", (0.5,) * 3, (0.5,) * 3),
        ("none", (0.0,) * 3, (1.0,) * 3),
    ],
)
def test_normalisation_is_the_encoders_own_unless_said(
    network: VisionTransformer, normalisation: object, mean: object, std: object
) -> None:
    encoder = PatchEncoder(network, SPEC, normalisation=normalisation)  # type: ignore[arg-type]
    assert (encoder.mean, encoder.std) == (mean, std)
    assert json.loads(encoder.normalisation_text) == {"mean": list(mean), "std": list(std)}  # type: ignore[call-overload]


def test_input_is_native_where_tokens_fit_and_resized_otherwise(
    network: VisionTransformer, patches: npt.NDArray[np.uint8]
) -> None:
    auto = PatchEncoder(network, SPEC)
    assert (auto.network_px(64), auto.network_px(40)) == (64, 32)
    resize = PatchEncoder(network, SPEC, encoder_input="resize")
    assert resize.network_px(64) == 32
    assert resize.input_recipe() != auto.input_recipe()
    small = torch.from_numpy(patches).permute(0, 3, 1, 2).float() / 255
    small = torch.nn.functional.interpolate(small, (32, 32), mode="bicubic", antialias=True)
    with torch.no_grad():
        expected = auto(small.clamp(0, 1))
    np.testing.assert_allclose(resize.embed(patches), expected, atol=1e-5)
    edges = np.zeros((1, 20, 20, 3), np.uint8)
    edges[:, :, 10:] = 255  # bicubic overshoots at an edge; pixels stay within 0-1
    seen: list[torch.Tensor] = []
    hook = network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    PatchEncoder(network, SPEC, normalisation="none")(torch.from_numpy(edges).permute(0, 3, 1, 2))
    hook.remove()
    assert (seen[0].shape[-1], float(seen[0].min()), float(seen[0].max())) == (32, 0, 1)
    native = PatchEncoder(network, SPEC, encoder_input="native")
    with pytest.raises(ModelError, match="multiple of 16 px"):
        native.embed(patches[:, :40, :40])


def test_bfloat16_is_float32_within_its_precision(
    network: VisionTransformer, patches: npt.NDArray[np.uint8]
) -> None:
    exact = PatchEncoder(network, SPEC).embed(patches)
    rough = PatchEncoder(network, SPEC, precision="bfloat16").embed(patches)
    assert rough.dtype == np.float32
    cosine = (exact * rough).sum(1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(rough, axis=1)
    assert cosine.min() > 0.999
    assert np.abs(exact - rough).max() > 0


def test_numbers_that_are_not_finite_are_an_error(patches: npt.NDArray[np.uint8]) -> None:
    encoder = PatchEncoder(VisionTransformer(SHAPE), SPEC)
    with torch.no_grad():
        encoder.network.norm.bias[0] = torch.inf
    with pytest.raises(ModelError, match="not finite"):
        encoder.embed(patches)


# --- identity ------------------------------------------------------------------------------


def test_the_hash_is_of_numbers_whatever_the_file_format(
    network: VisionTransformer, tmp_path: Path
) -> None:
    state = network.state_dict()
    torch.save(state, tmp_path / "plain.pth")
    torch.save({"teacher": {f"backbone.{k}": v for k, v in state.items()}}, tmp_path / "dino.pth")
    save_file(state, tmp_path / "plain.safetensors")
    hashes = {load_encoder(file).weights_hash for file in tmp_path.iterdir()}
    assert hashes == {hash_weights(dict(reversed(state.items())))}
    halves = {name: w.half() for name, w in state.items()}
    assert hash_weights(halves) == hash_weights({k: w.float() for k, w in halves.items()})
    changed = {**state, "norm.bias": state["norm.bias"] + 1e-6}
    renamed = {("x" if k == "norm.bias" else k): w for k, w in state.items()}
    assert len({hash_weights(s) for s in (state, changed, renamed)}) == 3


def test_names_of_folders_are_safe() -> None:
    def folder_name(name: str) -> str:
        return dataclasses.replace(SPEC, name=name).folder_name

    assert folder_name("hf-hub:1aurent/vit_small.lunit") == "1aurent_vit_small.lunit"
    assert folder_name("vit_small_patch16_224.dino") == "vit_small_patch16_224.dino"
    assert folder_name("../../a b[1]") == "a_b_1"
    assert folder_name("hf_hub:///") == "encoder"


# --- files -----------------------------------------------------------------------------------


def test_a_folder_brings_heads_normalisation_and_facts(
    network: VisionTransformer, patches: npt.NDArray[np.uint8], tmp_path: Path
) -> None:
    folder = write_folder(tmp_path / "encoder", network)
    expected = PatchEncoder(network, SPEC).embed(patches)
    for name in (folder, str(folder), folder / "encoder.safetensors"):
        encoder = load_encoder(name)
        assert (encoder.spec, encoder.source, encoder.notes) == (SPEC, "", ())
        np.testing.assert_array_equal(encoder.embed(patches), expected)
    # A model folder keeps the same description with its weights under another name.
    moved = (folder / "encoder.safetensors").rename(tmp_path / "weights.safetensors")
    again = load_encoder(moved, architecture=encoder.architecture)
    assert again.spec == SPEC
    assert again.weights_hash == encoder.weights_hash


def test_heads_come_from_the_description_not_from_a_guess(
    patches: npt.NDArray[np.uint8], tmp_path: Path
) -> None:
    torch.manual_seed(1)
    odd = VisionTransformer(dataclasses.replace(SHAPE, heads=6)).eval()
    folder = write_folder(tmp_path / "odd", odd)
    np.testing.assert_array_equal(
        load_encoder(folder).embed(patches), PatchEncoder(odd, SPEC).embed(patches)
    )


def test_a_dino_snapshot_is_its_teacher_without_head_normalised_by_imagenet(
    network: VisionTransformer, patches: npt.NDArray[np.uint8], tmp_path: Path
) -> None:
    teacher = {f"backbone.{name}": w for name, w in network.state_dict().items()}
    teacher["head.mlp.0.weight"] = torch.zeros(2, 2)
    student = {f"module.{name}": torch.zeros_like(w) for name, w in teacher.items()}
    snapshot = {"teacher": teacher, "student": student, "args": argparse.Namespace(lr=1.0)}
    torch.save(snapshot, tmp_path / "vit192.pth")
    encoder = load_encoder(tmp_path / "vit192.pth")
    assert encoder.notes == ("the training head is not used (head.*, 1 in all)",)
    assert (encoder.spec.name, encoder.spec.width) == ("vit192", 192)
    assert (encoder.spec.input_px, encoder.mean) == (32, (0.485, 0.456, 0.406))
    expected = PatchEncoder(network, SPEC, normalisation="imagenet").embed(patches)
    np.testing.assert_array_equal(encoder.embed(patches), expected)


def test_weights_that_do_not_fit_are_never_filled_in(
    network: VisionTransformer, tmp_path: Path
) -> None:
    state = dict(network.state_dict())
    del state["blocks.1.attn.qkv.bias"]
    state["blocks.0.ls1.gamma"] = torch.ones(192)
    torch.save(state, tmp_path / "broken.pth")
    with pytest.raises(CheckpointError) as caught:
        load_encoder(tmp_path / "broken.pth")
    assert "1 missing: blocks.1.attn.qkv.bias" in str(caught.value)
    assert "1 unexpected: blocks.0.ls1.gamma" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 2}, "hvit-encoder version 2"),
        ({"heads": 5}, "heads of the Vision Transformer must divide"),
        ({"heads": "3"}, "cannot have these sizes"),
        ({"depth": 3}, "missing: blocks.2"),
        ({"std": [1, 0, 1]}, "std above 0"),
        ({"mean": None}, "description cannot be used"),
    ],
)
def test_descriptions_that_cannot_be_right_are_refused(
    network: VisionTransformer, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    folder = write_folder(tmp_path / "encoder", network)
    description = json.loads((folder / "encoder.json").read_text())
    (folder / "encoder.json").write_text(json.dumps({**description, **change}))
    with pytest.raises(ModelError, match=message):
        load_encoder(folder)


def test_what_is_no_encoder_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"encoder\.json beside encoder\.safetensors"):
        load_encoder(tmp_path)
    with pytest.raises(CheckpointError, match="no such weight file"):
        load_encoder(tmp_path / "absent.pth")
    (tmp_path / "encoder.json").write_text("[]")
    with pytest.raises(ModelError, match="no JSON object"):
        load_encoder(tmp_path)
    (tmp_path / "encoder.json").write_text("{")
    with pytest.raises(ModelError, match="cannot be read"):
        load_encoder(tmp_path)
