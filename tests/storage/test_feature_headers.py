from __future__ import annotations

from pathlib import Path

import h5py
import pytest

from hvit_cli.errors import DamagedFileError, StorageError
from hvit_cli.storage.feature_headers import FeatureHeader, read_feature_header
from hvit_cli.storage.features import SlideFeatures, write_features


def test_a_header_says_what_the_file_says(tmp_path: Path, features: SlideFeatures) -> None:
    write_features(tmp_path / "s.h5", features)
    header = read_feature_header(tmp_path / "s.h5")
    derived = {
        "width": features.features.shape[1],
        "n_regions": features.n_regions,
        "n_patches": len(features.features),
    }
    for field in FeatureHeader.__dataclass_fields__:
        wanted = derived[field] if field in derived else getattr(features, field)
        assert getattr(header, field) == wanted, field


def test_files_that_are_no_finished_feature_files(tmp_path: Path, features: SlideFeatures) -> None:
    path = tmp_path / "s.h5"
    with pytest.raises(StorageError, match="no such file"):
        read_feature_header(path)
    write_features(path, features)
    with h5py.File(path, "r+") as file:
        del file.attrs["complete"]
    with pytest.raises(DamagedFileError, match="never finished"):
        read_feature_header(path)
    with h5py.File(path, "r+") as file:
        file.attrs["schema"] = 99
    with pytest.raises(DamagedFileError, match="hvit-features version 99"):
        read_feature_header(path)
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(DamagedFileError, match="cannot be read"):
        read_feature_header(path)
