from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from hvit_cli.errors import ModelError
from hvit_cli.models.encoder_specs import EncoderSpec
from hvit_cli.models.encoders import PatchEncoder
from hvit_cli.models.named_encoder import load_encoder
from hvit_cli.models.vit import VisionTransformer, VitShape
from hvit_cli.storage.feature_headers import FeatureHeader, read_feature_header
from hvit_cli.storage.features import write_features
from hvit_cli.training.encoder_record import copy_encoder, record_encoder

SHAPE = VitShape(width=12, depth=1, heads=3, token_px=16, grid_side=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder folder of a very small Vision Transformer."""
    folder = tmp_path_factory.mktemp("small-vit")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = VisionTransformer(SHAPE)
    spec = EncoderSpec(name="small-vit", width=12, input_px=32, token_px=16, mean=(0.1, 0.2, 0.3))
    description = PatchEncoder(network, spec).architecture
    save_file(network.state_dict(), folder / "encoder.safetensors")
    (folder / "encoder.json").write_text(json.dumps(description))
    return folder


def header(
    tmp_path: Path, cohort: SimpleNamespace, name: str, weights_hash: str, positions: str
) -> FeatureHeader:
    recipe = {"settings": {"embed": {"input": {"positions": positions}}}, "inputs": {}}
    slide = cohort.slide_features(
        "s", 1, encoder=name, encoder_hash=weights_hash, recipe=recipe, normalisation="own"
    )
    write_features(tmp_path / "s.h5", slide)
    return read_feature_header(tmp_path / "s.h5")


def test_local_weights_are_copied_and_embed_as_before(
    tmp_path: Path, cohort: SimpleNamespace, folder: Path
) -> None:
    original = load_encoder(folder)
    head = header(tmp_path, cohort, "small-vit", original.weights_hash, "dino")
    patches = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    for given in (folder, folder / "encoder.safetensors"):
        record = record_encoder(head, str(given), copy=True)
        model = tmp_path / f"model-{given.suffix}"
        copy_encoder(record, model)
        identity = record.identity
        assert (identity.file, identity.source) == ("encoder.safetensors", "")
        assert identity.normalisation == "own"
        copied = load_encoder(model / identity.file, architecture=identity.architecture)
        assert copied.weights_hash == original.weights_hash == identity.weights_hash
        np.testing.assert_array_equal(copied.embed(patches), original.embed(patches))
        assert not record.notes


def test_without_copying_the_model_says_where_it_will_look(
    tmp_path: Path, cohort: SimpleNamespace, folder: Path
) -> None:
    head = header(tmp_path, cohort, "small-vit", load_encoder(folder).weights_hash, "dino")
    record = record_encoder(head, str(folder), copy=False)
    assert (record.identity.file, record.identity.source) == ("", str(folder.resolve()))
    assert str(folder) in record.notes[0]
    copy_encoder(record, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_other_weights_than_the_features_are_refused(
    tmp_path: Path, cohort: SimpleNamespace, folder: Path
) -> None:
    head = header(tmp_path, cohort, "small-vit", "f" * 64, "dino")
    with pytest.raises(ModelError, match=r"not those that made the features.*wanted ffffffffffff"):
        record_encoder(head, str(folder), copy=True)


def test_a_public_name_is_enough_and_must_be_that_of_the_features(
    tmp_path: Path, cohort: SimpleNamespace
) -> None:
    head = header(tmp_path, cohort, "vit_small_patch16_224.dino", "a" * 64, "timm")
    for given in (None, "vit_small_patch16_224.dino"):
        record = record_encoder(head, given, copy=True)
        assert record.identity.source == "vit_small_patch16_224.dino"
        assert (record.identity.file, record.notes) == ("", ())
    with pytest.raises(ModelError, match=r"another encoder's; found resnet50; wanted vit_small"):
        record_encoder(head, "resnet50", copy=True)


def test_a_local_encoder_that_is_not_given_is_missed_in_a_note(
    tmp_path: Path, cohort: SimpleNamespace
) -> None:
    record = record_encoder(header(tmp_path, cohort, "mine", "a" * 64, "dino"), None, copy=True)
    assert (record.identity.source, record.identity.file) == ("", "")
    assert "--encoder FILE" in record.notes[0]
