"""One flipped bit anywhere in a file: it is found, or it changes nothing that is read."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import openslide  # noqa: F401 - before torch
from safetensors.torch import load_file

from hvit_cli.errors import HvitError, ModelError
from hvit_cli.models.encoder_specs import EncoderSpec
from hvit_cli.models.local_encoder import load_vit_folder
from hvit_cli.models.named_encoder import load_encoder
from hvit_cli.models.vit import VisionTransformer, VitShape
from hvit_cli.pretraining.encoder_folder import write_encoder_folder
from hvit_cli.settings import as_recipe
from hvit_cli.storage.features import read_features, write_features
from hvit_cli.storage.models import read_model
from hvit_cli.tissue.mask import mask_over_slide, read_mask, write_mask

FLIPS = 200
_PIPELINES = Path(__file__).parents[1] / "pipelines" / "conftest.py"
_TRAINING = Path(__file__).parents[1] / "training" / "cohort_on_disk.py"


def plain(value: Any) -> Any:
    """What was read as something that can be compared."""
    if hasattr(value, "__dict__"):
        value = vars(value)
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, tuple | list):
        return [plain(part) for part in value]
    return (value.dtype.str, value.shape, value.tobytes()) if hasattr(value, "tobytes") else value


def flips(
    path: Path, read: Callable[[Path], Any], seed: int = 0, times: int = FLIPS
) -> SimpleNamespace:
    """Flips one bit at each of `times` places and counts how reading ends."""
    whole, content = plain(read(path)), path.read_bytes()
    rng = np.random.default_rng(seed)
    count = SimpleNamespace(found=0, harmless=0, harmful=0)
    for place in rng.integers(0, len(content), times):
        altered = bytearray(content)
        altered[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(altered)
        try:
            same = plain(read(path)) == whole
        except HvitError as error:
            assert "\n" not in str(error)
            count.found += 1
        else:
            count.harmless += same
            count.harmful += not same
    return count


def test_of_features_and_tiles(tmp_path: Path) -> None:
    made = runpy.run_path(str(_TRAINING))["slide_features"]("slide001", 2)
    path = tmp_path / "slide001.h5"
    write_features(path, made)
    count = flips(path, read_features)
    assert count.harmful == 0
    assert count.found > 0


def test_of_masks(tmp_path: Path) -> None:
    pixels = np.zeros((300, 400), np.uint8)
    pixels[40:200, 50:300] = np.random.default_rng(0).integers(0, 2, (160, 250))
    path = tmp_path / "s.tiff"
    write_mask(path, mask_over_slide(pixels, (4000, 3000), 0.5, "segmented"), {"settings": {}})
    count = flips(path, read_mask)
    assert count.harmful == 0
    assert count.found > 0


def members_of(folder: Path) -> Callable[[Path], Any]:
    """Reads a model as `predict` does, as far as files are concerned."""

    def read(_: Path) -> Any:
        model = read_model(folder)
        weights = [load_file(folder / member.file) for member in model.members]
        encoder = load_encoder(folder / model.encoder.file, architecture=model.encoder.architecture)
        if encoder.weights_hash != model.encoder.weights_hash:
            raise ModelError("another encoder")
        return [plain(as_recipe(model.members[0])), model.training, str(model), weights]

    return read


def test_of_a_model(tmp_path: Path) -> None:
    conftest = runpy.run_path(str(_PIPELINES))
    folder = conftest["write_model_folder"](tmp_path / "model", ("masked",))
    read = members_of(folder)
    for name in ("model.json", "encoder.safetensors", "masked0.safetensors"):
        content = (folder / name).read_bytes()
        count = flips(folder / name, read, times=25)
        (folder / name).write_bytes(content)
        assert (count.harmful, count.harmless) == (0, 0), name


def test_of_an_encoder_folder_and_a_region_folder(tmp_path: Path) -> None:
    encoder = tmp_path / "encoder"
    shape = VitShape(width=32, depth=1, heads=2, token_px=16, grid_side=2)
    spec = EncoderSpec(name="e", width=32, input_px=32, token_px=16, pretraining_slides=("a", "b"))
    network = VisionTransformer(shape)
    write_encoder_folder(encoder, network, spec, recipe={"settings": {}, "inputs": {}})
    for name in ("encoder.safetensors", "encoder.json"):
        content = (encoder / name).read_bytes()
        count = flips(
            encoder / name, lambda path: load_vit_folder(path.parent)[0].state_dict(), times=40
        )
        (encoder / name).write_bytes(content)
        assert count.harmful == 0
        # An entry whose name was altered is one that no reader asks for.
        assert count.found >= 36


def test_of_a_mask_without_a_checksum_nothing_is_asked(tmp_path: Path) -> None:
    import pyvips

    path, older = tmp_path / "s.tiff", tmp_path / "older.tiff"
    mask = mask_over_slide(np.ones((64, 64), np.uint8), (640, 640), 0.5, "segmented")
    write_mask(path, mask, {"settings": {}})
    picture = pyvips.Image.new_from_file(str(path)).copy()
    said = json.loads(picture.get("image-description"))
    del said["sha256"]
    picture.set_type(pyvips.GValue.gstr_type, "image-description", json.dumps(said))
    picture.tiffsave(str(older), tile=True, pyramid=True, compression="deflate")
    assert plain(read_mask(older)) == plain(read_mask(path))
