from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import timm
import torch
from safetensors.torch import save_file

from hvit_cli.errors import ModelError, UsageError
from hvit_cli.models.encoder_specs import EncoderSpec
from hvit_cli.models.local_encoder import describe_vit
from hvit_cli.models.vit import VisionTransformer, VitShape
from hvit_cli.pretraining.networks import new_backbones, pair_of, plain_weights
from hvit_cli.settings import CropSettings, PretrainingSettings

TIMM = "test_vit"  # timm's own network for tests: 16 px tokens, width 64


def pixels(px: int, n: int = 2) -> torch.Tensor:
    return torch.randn(n, 3, px, px, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_student_and_teacher_start_alike_and_only_the_student_learns(toy: SimpleNamespace) -> None:
    made = new_backbones(toy.SETTINGS, toy.CROPS)
    assert made.width == 24
    assert not made.teacher.training
    assert all(p.requires_grad for p in made.student.parameters())
    assert not any(p.requires_grad for p in made.teacher.parameters())
    for px in (16, 32):
        wanted = made.teacher(pixels(px))
        assert torch.equal(made.student.eval()(pixels(px)), wanted)
        assert wanted.shape == (2, 24)
    assert [b.drop_path for b in made.student.blocks] == [0.0, 0.1]
    assert [b.drop_path for b in made.teacher.blocks] == [0.0, 0.0]
    assert made.student.shape.grid_side == 4  # 32 px in tokens of 8


def test_weights_are_a_function_of_the_seed(toy: SimpleNamespace) -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    runs = [
        plain_weights(
            new_backbones(dataclasses.replace(toy.SETTINGS, seed=seed), toy.CROPS).student
        )
        for seed in (3, 3, 4)
    ]
    assert torch.equal(torch.random.get_rng_state(), before)
    for name, weight in runs[0].items():
        assert torch.equal(weight, runs[1][name])
    assert not torch.equal(runs[0]["pos_embed"], runs[2]["pos_embed"])


def test_a_timm_network_gets_stochastic_depth_and_takes_both_sizes() -> None:
    settings = PretrainingSettings(network=TIMM, drop_path=0.3, checkpointing=True)
    made = new_backbones(settings, CropSettings(global_px=64, local_px=32))
    assert isinstance(made.student, timm.models.VisionTransformer)
    assert made.width == 64
    rates = [block.drop_path2.drop_prob for block in made.student.blocks]
    depth = len(rates)
    assert rates == pytest.approx([0.3 * i / (depth - 1) for i in range(depth)])
    made.student.train()
    for px in (64, 32):
        features = made.student(pixels(px))
        assert features.shape == (2, 64)
    features.sin().sum().backward()
    assert made.student.patch_embed.proj.weight.grad.abs().sum() > 0


def test_only_vision_transformers_of_timm_are_taken() -> None:
    crops = CropSettings()
    for name, found in (("resnet18", "a ResNet"), ("no_such_net", "no_such_net")):
        with pytest.raises(ModelError, match=found):
            new_backbones(PretrainingSettings(network=name), crops)
    with pytest.raises(ModelError, match="only Transformers"):
        pair_of(torch.nn.Linear(3, 3), PretrainingSettings(), width=3)


@pytest.mark.parametrize("network", [None, TIMM])
def test_crops_that_are_no_whole_tokens_are_refused(network: str | None) -> None:
    with pytest.raises(ModelError, match="found 64, 20 px; wanted multiples of 16 px"):
        new_backbones(
            PretrainingSettings(network=network, width=24, heads=2, depth=1),
            CropSettings(global_px=64, local_px=20),
        )
    without = CropSettings(global_px=64, local_px=20, local_crops=0)
    new_backbones(PretrainingSettings(network=network, width=24, heads=2, depth=1), without)


@torch.no_grad()
def test_an_encoder_folder_gives_its_sizes_and_weights(
    tmp_path: Path, toy: SimpleNamespace
) -> None:
    shape = VitShape(width=32, depth=3, heads=4, token_px=8, grid_side=2)
    encoder = VisionTransformer(shape).eval()
    spec = EncoderSpec(name="mine", width=32, input_px=16, token_px=8)
    save_file(encoder.state_dict(), tmp_path / "encoder.safetensors")
    (tmp_path / "encoder.json").write_text(json.dumps(describe_vit(shape, spec)))
    for path in (tmp_path, tmp_path / "encoder.safetensors"):
        made = new_backbones(toy.SETTINGS, toy.CROPS, path)
        assert made.width == 32
        assert made.initial is not None and made.initial.name == "mine"
        for network in (made.student.eval(), made.teacher):
            assert torch.equal(network(pixels(32)), encoder(pixels(32)))
    with pytest.raises(UsageError, match="--network"):
        new_backbones(dataclasses.replace(toy.SETTINGS, network=TIMM), toy.CROPS, tmp_path)


@torch.no_grad()
def test_a_folder_of_timm_gives_its_network(tmp_path: Path) -> None:
    network = timm.create_model(TIMM, pretrained=False, num_classes=0).eval()
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    config = {
        "architecture": TIMM,
        "pretrained_cfg": {"input_size": [3, 160, 160], "fixed_input_size": True},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    made = new_backbones(PretrainingSettings(), CropSettings(global_px=160), tmp_path)
    assert torch.equal(made.teacher(pixels(160)), network(pixels(160)))
