from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import torch

from hvit_cli.errors import HvitError
from hvit_cli.storage.foreign.clam import find_clam, read_clam
from hvit_cli.storage.foreign.original import RegionCoordinates, find_original, read_original
from hvit_cli.storage.foreign.slide2vec import find_slide2vec, read_slide2vec
from hvit_cli.storage.foreign.trident import find_trident, read_trident


def test_trident_files_are_read_as_trident_writes_them(
    foreign: SimpleNamespace, tmp_path: Path
) -> None:
    cell = foreign.cells(6, 5, 0.5, seed=1)
    path = foreign.write_trident(tmp_path, "TCGA-01.8f2c", cell)
    (path.parents[1] / "slide_features_titan").mkdir()
    assert find_trident(tmp_path) == {"TCGA-01.8f2c": path}
    assert find_trident(path.parent) == {"TCGA-01.8f2c": path}
    patches = read_trident("TCGA-01.8f2c", path)
    np.testing.assert_array_equal(patches.features, foreign.features_at(cell))
    np.testing.assert_array_equal(patches.xy_level0, cell * 512)
    assert (patches.patch_level0, patches.patch_px, patches.spacing_um) == (512, 256, 0.5)
    assert (patches.size_level0, patches.encoder) == ((60000, 40000), "uni_v1")
    assert patches.tissue_fraction is None


def test_two_encoders_in_one_trident_job_must_be_told_apart(
    foreign: SimpleNamespace, tmp_path: Path
) -> None:
    for encoder in ("uni_v1", "conch_v1"):
        foreign.write_trident(tmp_path, "a", foreign.cells(3, 3, 1, seed=1), encoder=encoder)
    with pytest.raises(HvitError, match=r"several.*features_conch_v1.*features_uni_v1"):
        find_trident(tmp_path)


def test_clam_takes_the_size_of_a_patch_from_its_patches_folder(
    foreign: SimpleNamespace, tmp_path: Path
) -> None:
    cell = foreign.cells(4, 4, 0.7, seed=2)
    features = foreign.features_at(cell)
    foreign.write_clam(tmp_path, "a", cell * 512 + 37, features)
    foreign.write_clam(tmp_path, "b", cell * 512 + 37, features, patches=False)
    files = find_clam(tmp_path)
    assert list(files) == ["a", "b"]
    patches = read_clam("a", files["a"])
    # 256 pixels of a level whose downsample 2.0001 CLAM truncates to 2.
    assert (patches.patch_level0, patches.patch_px) == (512, 256)
    np.testing.assert_array_equal(patches.xy_level0, cell * 512 + 37)
    assert read_clam("b", files["b"]).patch_level0 is None


def test_slide2vec_rows_belong_to_their_coordinates_and_fractions(
    foreign: SimpleNamespace, tmp_path: Path
) -> None:
    cell = foreign.cells(5, 4, 0.6, seed=3)
    fractions = foreign.write_slide2vec(tmp_path, "a", cell)
    patches = read_slide2vec("a", find_slide2vec(tmp_path)["a"])
    np.testing.assert_array_equal(patches.xy_level0, cell * 508 + [64, 0])
    np.testing.assert_array_equal(patches.tissue_fraction, fractions)
    assert (patches.patch_level0, patches.spacing_um_level0) == (508, 0.252)
    assert (patches.encoder, patches.size_level0) == ("prost40m", (50000, 40000))


def test_the_published_coordinates_of_hs2p_are_read(
    foreign: SimpleNamespace, data: Path, tmp_path: Path
) -> None:
    (tmp_path / "tile_embeddings").mkdir()
    torch.save(torch.zeros(459, 4), tmp_path / "tile_embeddings" / "hs2p_test-wsi.pt")
    (tmp_path / "tiles").mkdir()
    for name in ("hs2p_test-wsi.coordinates.npz", "hs2p_test-wsi.coordinates.meta.json"):
        (tmp_path / "tiles" / name).write_bytes((data / "masks" / name).read_bytes())
    patches = read_slide2vec("hs2p_test-wsi", find_slide2vec(tmp_path)["hs2p_test-wsi"])
    assert (patches.patch_level0, patches.patch_px) == (444, 224)
    # From the origin (64, 0) in steps of 444, as the README of the data says.
    assert not ((patches.xy_level0 - [64, 0]) % 444).any()
    assert patches.size_level0 is None


CORNERS = ((1024, 0), (10240, 0), (0, 2048), (0, 10240), (512, 512))


def test_the_originals_regions_are_in_the_order_of_text(
    foreign: SimpleNamespace, tmp_path: Path
) -> None:
    features, fractions = foreign.write_original(tmp_path, "a", CORNERS)
    path = find_original(tmp_path)["a"]
    coordinates = RegionCoordinates(tmp_path / "regions")
    regions = read_original("a", path, coordinates, tmp_path / "tissue")
    # "0_10240" < "0_2048" < "10240_0" < "1024_0" < "512_512": digits before the underscore.
    wanted = [[0, 10240], [0, 2048], [10240, 0], [1024, 0], [512, 512]]
    np.testing.assert_array_equal(regions.xy_level0, wanted)
    np.testing.assert_allclose(regions.features[:, 0, :2] * 1000, wanted, rtol=1e-5)
    np.testing.assert_array_equal(regions.features, features)
    np.testing.assert_allclose(regions.tissue_fraction, fractions.mean(axis=2), atol=1e-6)


def test_a_table_is_sorted_as_text_and_an_array_keeps_its_order(
    foreign: SimpleNamespace, tmp_path: Path
) -> None:
    foreign.write_original(tmp_path, "a", CORNERS)
    table = tmp_path / "region_features.csv"
    rows = "".join(f"path,a,local,2048,{x},{y}\n" for x, y in CORNERS)
    table.write_text("feature_path,slide_id,level,tile_size,x,y\n" + rows)
    (tmp_path / "npy").mkdir()
    array = np.asarray([(x, y, 2048, 0, 1) for x, y in CORNERS])
    np.save(tmp_path / "npy" / "a.npy", array)
    from_pictures = RegionCoordinates(tmp_path / "regions").of("a")
    np.testing.assert_array_equal(RegionCoordinates(table).of("a"), from_pictures)
    np.testing.assert_array_equal(RegionCoordinates(tmp_path / "npy").of("a"), CORNERS)


def _trident_with(foreign: SimpleNamespace, folder: Path, **changed: object) -> Path:
    path: Path = foreign.write_trident(folder, "a", foreign.cells(3, 3, 1, seed=0), **changed)
    return path


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("no coords", r"a\.h5: the file lacks an array; found features; wanted coords"),
        ("fewer coords", r"a\.h5: coords: .*shape \(8, 2\); wanted \(9, 2\)"),
        ("halves", r"coords: coordinates must be whole.*\(0\.5, 0\.0\) in row 0"),
        ("vector", r"features: these are no features.*shape \(8,\)"),
        ("text", r"this HDF5 file cannot be read"),
    ],
)
def test_a_bad_array_is_named_with_its_file(
    foreign: SimpleNamespace, tmp_path: Path, change: str, said: str
) -> None:
    path = _trident_with(foreign, tmp_path)
    with h5py.File(path, "a") as file:
        if change == "no coords":
            del file["coords"]
        if change in ("fewer coords", "halves"):
            coords = file["coords"][:].astype(float)
            del file["coords"]
            file["coords"] = (
                coords[:-1] if change == "fewer coords" else coords + np.asarray([0.5, 0])
            )
        if change == "vector":
            row = file["features"][0]
            del file["features"]
            file["features"] = row
    if change == "text":
        path.write_text("no HDF5")
    with pytest.raises(HvitError, match=said):
        read_trident("a", path)


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"overlap": 32}, r"overlap.*found 32"),
        ({"patch_size_level0": -1}, r"coords\.patch_size_level0: .*-1"),
        ({"target_magnification": "many"}, r"coords\.target_magnification: .*many"),
    ],
)
def test_a_bad_attribute_is_named_with_its_file(
    foreign: SimpleNamespace, tmp_path: Path, attributes: dict[str, object], said: str
) -> None:
    with pytest.raises(HvitError, match=said):
        read_trident("a", _trident_with(foreign, tmp_path, **attributes))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("fewer regions", r"different numbers of regions; found 5 and 4"),
        ("other names", r"the name of a region is not x_y.*'thumbnail'"),
        ("no slide", r"a in .*regions: the coordinates of this slide's regions are not there"),
        ("no fractions", r"a\.npy: the tissue fractions of this slide are missing"),
        ("percent", r"a\.npy: .*between 0 and 1; found 0 to 100"),
        ("two axes", r"a\.pt: tensor: .*shape \(5, 8\)"),
        ("dictionary", r"a\.pt: the file holds no tensor; found dict"),
        ("text", r"a\.pt: the file is damaged or holds more than a tensor"),
    ],
)
def test_the_originals_faults_are_one_line_each(
    foreign: SimpleNamespace, tmp_path: Path, change: str, said: str
) -> None:
    features, fractions = foreign.write_original(tmp_path, "a", CORNERS)
    path, pictures = tmp_path / "slide_features" / "a.pt", tmp_path / "regions" / "a" / "imgs"
    fraction_file = tmp_path / "tissue" / "a.npy"
    if change == "fewer regions":
        (pictures / "512_512.jpg").unlink()
    if change == "other names":
        (pictures / "512_512.jpg").rename(pictures / "thumbnail.jpg")
    if change == "no slide":
        (tmp_path / "regions" / "a").rename(tmp_path / "regions" / "b")
    if change == "no fractions":
        fraction_file.unlink()
    if change == "percent":
        np.save(fraction_file, fractions * 100)
    if change == "two axes":
        torch.save(torch.from_numpy(features[:, 0]), path)
    if change == "dictionary":
        torch.save({"features": torch.zeros(1)}, path)
    if change == "text":
        path.write_text("no tensor")
    with pytest.raises(HvitError, match=said) as caught:
        read_original("a", path, RegionCoordinates(tmp_path / "regions"), tmp_path / "tissue")
    assert "\n" not in str(caught.value)


def test_folders_without_features_say_what_was_wanted(tmp_path: Path) -> None:
    for find, wanted in (
        (find_trident, "features_<encoder>/<slide>.h5"),
        (find_clam, "pt_files alone hold no coordinates"),
        (find_slide2vec, "tile_embeddings"),
        (find_original, "<slide>.pt"),
    ):
        with pytest.raises(HvitError, match="no features of this layout here") as caught:
            find(tmp_path)
        assert wanted in str(caught.value)
