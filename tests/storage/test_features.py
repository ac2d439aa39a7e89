from __future__ import annotations

import dataclasses
from pathlib import Path

import h5py
import numpy as np
import pytest

from hvit_cli.errors import DamagedFileError, ModelError
from hvit_cli.storage.feature_headers import read_feature_header
from hvit_cli.storage.features import SlideFeatures, read_features, write_features


def test_what_was_written_is_read(tmp_path: Path, features: SlideFeatures) -> None:
    write_features(tmp_path / "s.h5", features)
    found = read_features(tmp_path / "s.h5")
    for field in dataclasses.fields(SlideFeatures):
        ours, theirs = getattr(found, field.name), getattr(features, field.name)
        np.testing.assert_array_equal(ours, theirs, err_msg=field.name)
        assert type(ours) is type(theirs), field.name


def test_readers_of_clam_and_trident_find_what_they_look_for(
    tmp_path: Path, features: SlideFeatures
) -> None:
    write_features(tmp_path / "s.h5", features)
    with h5py.File(tmp_path / "s.h5") as file:
        assert file["features"].shape == (3, 5)
        assert file["coords"].shape == (3, 2)
        assert file["coords"].attrs["patch_size"] == 256
        assert file["coords"].attrs["patch_size_level0"] == 256
        ratio = (
            file["coords"].attrs["level0_magnification"]
            / file["coords"].attrs["target_magnification"]
        )
        assert 256 * ratio == features.patch_level0


def test_every_single_flipped_bit_in_the_features_is_found(
    tmp_path: Path, features: SlideFeatures
) -> None:
    path = tmp_path / "s.h5"
    write_features(path, features)
    with h5py.File(path) as file:
        offset = file["features"].id.get_offset()
    for bit in range(8):
        content = bytearray(path.read_bytes())
        content[offset + 7] ^= 1 << bit
        (tmp_path / "flipped.h5").write_bytes(content)
        with pytest.raises(DamagedFileError, match="checksum"):
            read_features(tmp_path / "flipped.h5")


def test_an_unfinished_file_is_no_result(tmp_path: Path, features: SlideFeatures) -> None:
    path = tmp_path / "s.h5"
    write_features(path, features)
    with h5py.File(path, "r+") as file:
        del file.attrs["complete"]
    with pytest.raises(DamagedFileError, match="never finished"):
        read_features(path)


def test_a_file_of_something_else_is_said(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "s.h5", "w") as file:
        file["features"] = np.zeros((2, 2), np.float32)
    with pytest.raises(DamagedFileError, match="wanted hvit-features version 1"):
        read_features(tmp_path / "s.h5")


def test_rows_out_of_order_are_found(tmp_path: Path, features: SlideFeatures) -> None:
    wrong = dataclasses.replace(features, patch_index=np.array([1, 0, 3], np.int64))
    write_features(tmp_path / "s.h5", wrong)
    with pytest.raises(DamagedFileError, match="out of order"):
        read_features(tmp_path / "s.h5")


def test_a_slide_without_any_row_is_legal(tmp_path: Path, features: SlideFeatures) -> None:
    empty = dataclasses.replace(
        features,
        **{
            name: getattr(features, name)[:0]
            for name in ("features", "coords", "region_index", "patch_index", "tissue_fraction")
        },
    )
    write_features(tmp_path / "s.h5", empty)
    assert read_features(tmp_path / "s.h5").n_regions == 3


def test_masked_sees_tissue_and_plain_sees_all(features: SlideFeatures) -> None:
    assert features.visible("masked").tolist() == [True, False, True]
    assert features.visible("plain").tolist() == [True, True, True]


def test_plain_is_refused_where_only_tissue_was_embedded(features: SlideFeatures) -> None:
    sparse = dataclasses.replace(features, patches="tissue")
    with pytest.raises(ModelError, match="hvit embed --plain"):
        sparse.visible("plain")


@pytest.fixture
def without_glass(features: SlideFeatures) -> SlideFeatures:
    """The features, of tokens of 64 px: 16 of a patch, two bytes."""
    bits = np.array([[0b10000001, 0], [0, 0], [255, 0b01000000]], np.uint8)
    return dataclasses.replace(features, mask_level="both", token_px=64, token_bits=bits)


def test_tokens_are_stored_row_by_row_eight_to_a_byte(
    tmp_path: Path, without_glass: SlideFeatures
) -> None:
    write_features(tmp_path / "s.h5", without_glass)
    found = read_features(tmp_path / "s.h5")
    assert (found.mask_level, found.token_px) == ("both", 64)
    assert found.tokens is not None
    assert [np.flatnonzero(row).tolist() for row in found.tokens] == [[0, 7], [], [*range(8), 9]]
    assert read_feature_header(tmp_path / "s.h5").mask_level == "both"


def test_files_of_whole_patches_do_not_speak_of_tokens(
    tmp_path: Path, features: SlideFeatures
) -> None:
    write_features(tmp_path / "s.h5", features)
    with h5py.File(tmp_path / "s.h5") as file:
        assert not {"mask_level", "token_px"} & set(file.attrs)
        assert "token_bits" not in file
    assert read_features(tmp_path / "s.h5").tokens is None
    assert read_feature_header(tmp_path / "s.h5").mask_level == "region"


def test_a_flipped_token_is_found(tmp_path: Path, without_glass: SlideFeatures) -> None:
    path = tmp_path / "s.h5"
    write_features(path, without_glass)
    with h5py.File(path) as file:
        offset = file["token_bits"].id.get_offset()
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedFileError, match="checksum"):
        read_features(path)


@pytest.mark.parametrize(
    "changed",
    [
        {"mask_level": "region"},
        {"mask_level": "all"},
        {"token_px": 16},
        {"token_bits": np.zeros((2, 2), np.uint8)},
    ],
    ids=["no level", "other level", "other tokens", "fewer rows"],
)
def test_tokens_that_contradict_the_rest_are_refused(
    tmp_path: Path, without_glass: SlideFeatures, changed: dict[str, object]
) -> None:
    wrong = dataclasses.replace(without_glass, **changed)  # type: ignore[arg-type]
    write_features(tmp_path / "s.h5", wrong)
    with pytest.raises(DamagedFileError, match="contradicts itself"):
        read_features(tmp_path / "s.h5")
