"""Small files that claim to be large: refused, or read, without the memory that they claim."""

from __future__ import annotations

import io
import json
import runpy
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import openslide  # noqa: F401 - before torch
import pytest
import pyvips
import torch
from PIL import Image
from safetensors.torch import save_file

from hvit_cli.demo.model import demo_model_folder
from hvit_cli.errors import HvitError, ModelError, SettingsError
from hvit_cli.models.encoder_specs import EncoderSpec
from hvit_cli.models.local_encoder import describe_vit, load_vit_folder
from hvit_cli.models.vit import VisionTransformer, VitShape
from hvit_cli.settings import AggregatorSettings, TilingSettings
from hvit_cli.settings.seal import SEAL
from hvit_cli.storage.features import read_features
from hvit_cli.storage.foreign.clam import read_clam
from hvit_cli.storage.foreign.slide2vec import read_slide2vec
from hvit_cli.storage.foreign.tensors import read_npy, read_tensor
from hvit_cli.storage.foreign.trident import read_trident
from hvit_cli.storage.models import read_model
from hvit_cli.tissue.contours import geojson_to_mask
from hvit_cli.tissue.external import read_external_mask
from hvit_cli.tissue.mask import read_mask

Bounds: Any = runpy.run_path(str(Path(__file__).with_name("bounds.py")))["Bounds"]
SPEC = EncoderSpec(name="small one", width=48, input_px=32, token_px=16)
_ROWS, _WIDTH = 60_000, 1024  # 246 MB as float32


def sparse_hdf5(path: Path) -> None:
    """Arrays of which no element was written."""
    with h5py.File(path, "w") as file:
        file.attrs.update(kind="hvit-features", schema=1, complete=True)
        file.create_dataset("features", (_ROWS, _WIDTH), np.float32, chunks=(64, _WIDTH))
        file.create_dataset("coords", (_ROWS, 2), np.int64, chunks=(64, 2))


def packed_hdf5(path: Path) -> None:
    """Zeros, which compress a thousand times."""
    with h5py.File(path, "w") as file:
        made = file.create_dataset(
            "features", (_ROWS, _WIDTH), np.float32, chunks=(4096, _WIDTH), compression="gzip"
        )
        for top in range(0, _ROWS // 4, 4096):
            made[top : top + 4096] = 0
        file["coords"] = np.zeros((3, 2), np.int64)


def packed_npz(path: Path) -> None:
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("features.npy", "w", force_zip64=True) as file,
    ):
        file.write(npy_header((_ROWS, _WIDTH)))
        for _ in range(_ROWS // 1000):
            file.write(bytes(1000 * _WIDTH * 4))


def npy_header(shape: tuple[int, ...]) -> bytes:
    file = io.BytesIO()
    described = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, described)
    return file.getvalue()


def long_npy(path: Path) -> None:
    path.write_bytes(npy_header((10**9, 1000)) + bytes(100))


def repeated_tensor(path: Path) -> None:
    """One stored number that stands for all."""
    torch.save(torch.zeros(1).expand(_ROWS, _WIDTH), path)


def long_safetensors(path: Path) -> None:
    path.write_bytes((10**15).to_bytes(8, "little") + b"{}")


FILES: dict[str, tuple[str, Callable[[Path], None], Callable[[Path], object]]] = {
    "features of ours": ("a.h5", sparse_hdf5, read_features),
    "TRIDENT, unwritten": ("a.h5", sparse_hdf5, lambda p: read_trident("a", p)),
    "TRIDENT, packed": ("a.h5", packed_hdf5, lambda p: read_trident("a", p)),
    "CLAM, unwritten": ("a.h5", sparse_hdf5, lambda p: read_clam("a", p)),
    "slide2vec, packed": ("a.npz", packed_npz, lambda p: read_slide2vec("a", p)),
    "array": ("a.npy", long_npy, read_npy),
    "tensor": ("a.pt", repeated_tensor, read_tensor),
    "safetensors": ("a.safetensors", long_safetensors, lambda p: load_weights(p)),
}


def load_weights(path: Path) -> object:
    from hvit_cli.models.checkpoints import read_state_dict

    return read_state_dict(path)


@pytest.mark.parametrize("name", FILES)
def test_a_small_file_that_claims_much_is_refused(name: str, tmp_path: Path) -> None:
    file, make, read = FILES[name]
    make(tmp_path / file)
    reasons = r"larger than its file|too large for their file|cannot be read|header too large"
    with Bounds(64).one(name), pytest.raises(HvitError, match=reasons) as caught:
        read(tmp_path / file)
    assert str(tmp_path / file) in str(caught.value)


def test_a_mask_of_others_takes_the_memory_of_its_slide(tmp_path: Path) -> None:
    """300 million pixels in 0.3 MB, over a slide that has 31 million at level 0."""
    path = tmp_path / "mask.tiff"
    pyvips.Image.black(20_000, 15_000).tiffsave(
        str(path), tile=True, compression="deflate", bigtiff=True
    )
    with Bounds(192).one():
        mask = read_external_mask(path, (6400, 4800), 1.0, (1,))
    # Kept at 2 µm per pixel.
    assert mask.pixels.shape == (2400, 3200)


def test_a_mask_of_ten_thousand_channels_is_refused_before_they_are_decoded(
    tmp_path: Path,
) -> None:
    path = tmp_path / "mask.tiff"
    one = pyvips.Image.black(256, 192)
    one.bandjoin([one] * 399).tiffsave(str(path), tile=True, compression="deflate")
    content = path.read_bytes()
    # The tag SamplesPerPixel, a short (TIFF 6.0).
    tag = (277).to_bytes(2, "little") + (3).to_bytes(2, "little") + (1).to_bytes(4, "little")
    assert content.count(tag) == 1
    at = content.index(tag) + len(tag)
    path.write_bytes(content[:at] + (10_000).to_bytes(2, "little") + content[at + 2 :])
    for read in (
        lambda: read_external_mask(path, (2560, 1920), 1.0, (1,)),
        lambda: read_mask(path),
    ):
        with Bounds(64).one(), pytest.raises(HvitError) as caught:
            read()
        assert str(path) in str(caught.value)


def test_a_mask_with_a_palette_that_would_fill_the_memory_is_left_to_libvips(
    tmp_path: Path,
) -> None:
    path = tmp_path / "mask.png"
    picture = Image.new("P", (15_000, 13_000))
    picture.putpalette([0, 0, 0, 255, 255, 255])
    picture.save(path)
    del picture
    with Bounds(256).one():
        mask = read_external_mask(path, (1500, 1300), 1.0, (1,))
    assert mask.pixels.shape == (650, 750)


@pytest.mark.parametrize(
    "coordinates",
    [
        [[[0, 0], [1e308, 0], [1e308, 1e308], [0, 0]]],
        [[[-1e9, -1e9], [1e9, -1e9], [1e9, 1e9], [-1e9, -1e9]]],
        [[[x % 3000, x % 1999] for x in range(200_000)]],
        [[[0, 0], [9, 0], [9, 9], [0, 0]]] * 20_000,
    ],
    ids=["infinite", "enormous", "many points", "many rings"],
)
def test_outlines_take_the_memory_of_their_slide(coordinates: object) -> None:
    outlines = {"type": "Polygon", "coordinates": coordinates}
    with Bounds(64).one():
        try:
            mask = geojson_to_mask(outlines, (3000, 2000), 0.5, where="x.geojson")
        except HvitError:
            return
    assert mask.pixels.size <= 3000 * 2000


@pytest.mark.parametrize(
    "sizes",
    [
        {"region_dim": 96_000},
        {"region_depth": 10**9},
        {"slide_depth": 10**6},
        {"patch_dim": 10**9},
        {"outputs": 10**9},
        {"registers": 10**9},
    ],
    ids=str,
)
def test_a_model_that_claims_more_weights_than_it_has_is_refused(
    sizes: dict[str, int], tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(demo_model_folder(), folder)
    said = json.loads((folder / "model.json").read_text())
    said["aggregator"] |= sizes
    said.pop(SEAL, None)
    (folder / "model.json").write_text(json.dumps(said))
    with (
        Bounds(64).one(sizes),
        pytest.raises(ModelError, match=r"too few for the sizes that the model states|setting"),
    ):
        read_model(folder)


def test_regions_of_more_patches_than_memory_holds_are_refused() -> None:
    for kind in (TilingSettings, AggregatorSettings):
        with pytest.raises(SettingsError, match="at most 1024 patches along a region's side"):
            kind(region_px=65536, patch_px=32)
    with pytest.raises(SettingsError, match="at most 1024"):
        AggregatorSettings(position_region_px=2**40)


@pytest.mark.parametrize(
    "sizes",
    [
        {"width": 16_128, "heads": 3},
        {"depth": 10**9},
        {"grid_side": 10**6},
        {"token_px": 10**5},
        {"mlp_ratio": 1e9},
    ],
    ids=str,
)
def test_an_encoder_that_claims_more_weights_than_it_has_is_refused(
    sizes: dict[str, int], tmp_path: Path
) -> None:
    shape = VitShape(width=48, depth=1, heads=3, token_px=16, grid_side=2)
    save_file(VisionTransformer(shape).state_dict(), tmp_path / "encoder.safetensors")
    said = {**describe_vit(shape, SPEC), **sizes}
    (tmp_path / "encoder.json").write_text(json.dumps(said))
    with Bounds(64).one(), pytest.raises(HvitError, match="fewer than the description") as caught:
        load_vit_folder(tmp_path)
    assert str(tmp_path / "encoder.safetensors") in str(caught.value)


def test_a_description_of_an_encoder_that_is_nested_deeply_is_refused(tmp_path: Path) -> None:
    (tmp_path / "encoder.json").write_text('{"a":' + "[" * 10**6)
    with Bounds(64).one(), pytest.raises(ModelError, match="description cannot be read"):
        load_vit_folder(tmp_path)
