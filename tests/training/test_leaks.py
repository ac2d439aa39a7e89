from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from hvit_cli.errors import LabelError, ModelError
from hvit_cli.models.encoder_specs import EncoderSpec
from hvit_cli.models.local_encoder import describe_vit, load_vit_folder
from hvit_cli.models.vit import VisionTransformer, VitShape
from hvit_cli.training.leaks import pretraining_slides, refuse_leaks


def test_an_encoder_folder_remembers_the_slides_it_was_trained_on(tmp_path: Path) -> None:
    shape = VitShape(width=64, depth=1, heads=1, grid_side=2)
    torch.manual_seed(0)
    save_file(VisionTransformer(shape).state_dict(), tmp_path / "encoder.safetensors")
    for slides in ((), ("a", "007")):
        spec = EncoderSpec(
            name="own", width=64, input_px=32, token_px=16, pretraining_slides=slides
        )
        description = describe_vit(shape, spec)
        assert ("pretraining_slides" in description) == bool(slides)
        (tmp_path / "encoder.json").write_text(json.dumps(description))
        assert load_vit_folder(tmp_path)[1].pretraining_slides == slides
        assert pretraining_slides(tmp_path / "features", str(tmp_path)) == {*slides}
    # Also when the weight file in that folder is named.
    assert pretraining_slides(tmp_path, str(tmp_path / "encoder.safetensors")) == {"a", "007"}


def test_a_name_of_a_hub_and_features_without_a_record_hold_no_slides(tmp_path: Path) -> None:
    assert pretraining_slides(tmp_path, None) == frozenset()
    assert pretraining_slides(tmp_path, "hf-hub:owner/model") == frozenset()


@pytest.mark.parametrize("text", ["{", "[1]", '{"pretraining_slides": [1]}'])
def test_a_record_that_cannot_be_read_is_no_permission(tmp_path: Path, text: str) -> None:
    (tmp_path / "encoder.json").write_text(text)
    with pytest.raises(ModelError, match=r"encoder\.json"):
        pretraining_slides(tmp_path, None)


def test_overlap_is_refused_and_counted() -> None:
    refuse_leaks(frozenset("ab"), "cd", where="features", what="test")
    with pytest.raises(LabelError, match=r"features: .* would test; found 2 slides \(b, c\)"):
        refuse_leaks(frozenset("abc"), "bcd", where="features", what="test")
