from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from hvit_cli.errors import LabelError, ModelError, RecipeError, UsageError
from hvit_cli.settings import Attention
from hvit_cli.storage.features import write_features
from hvit_cli.training.cohort import (
    find_features_folder,
    list_features,
    read_headers,
    refuse_mismatches,
    require_one_making,
    require_visible_patches,
)
from hvit_cli.training.labels import LabelTable, read_labels


def table(tmp_path: Path, *rows: str) -> LabelTable:
    path = tmp_path / "labels.csv"
    path.write_text("\n".join(["slide_id,label", *rows]) + "\n")
    return read_labels(path)


def test_a_folder_of_features_or_a_work_folder_with_one(
    tmp_path: Path, cohort: SimpleNamespace
) -> None:
    features = tmp_path / "work" / "features" / "vit-12345678"
    cohort.write_cohort(features, 2)
    (features / ".hvit-tmp-abc-slide009.h5").touch()
    for path in (features, features.parent, tmp_path / "work"):
        assert find_features_folder(path) == features
    assert list(list_features(features)) == ["slide000", "slide001"]


def test_several_folders_of_features_are_listed(tmp_path: Path, cohort: SimpleNamespace) -> None:
    for name in ("uni-1", "vit-2"):
        cohort.write_cohort(tmp_path / "features" / name, 1)
    with pytest.raises(UsageError, match=r"several folders.*found uni-1, vit-2.*features/uni-1"):
        find_features_folder(tmp_path)


def test_a_folder_without_features(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no feature files here.*hvit embed"):
        find_features_folder(tmp_path)
    with pytest.raises(UsageError, match="no such folder"):
        find_features_folder(tmp_path / "absent")


def test_problems_of_table_and_match_are_reported_together(tmp_path: Path) -> None:
    labels = table(tmp_path, "a,1", "b,9", "c,", "d,2", "e,3")
    with pytest.raises(LabelError) as caught:
        refuse_mismatches([labels], ["a", "b", "x", "y"])
    message = str(caught.value)
    assert "1 ids without a label (c)" in message
    assert "1 unknown grades, wanted 0 to 5 or 3+3 to 5+5, 0+0 or negative (b has '9')" in message
    assert "3 labelled slides without features (c, d, e, try --allow-missing" in message
    assert "2 feature files without a row in the table (x, y, try --allow-unlabelled" in message


def test_each_permission_covers_its_own_side(tmp_path: Path) -> None:
    labels = table(tmp_path, "a,1", "b,2")
    with pytest.raises(LabelError, match="without a row"):
        refuse_mismatches([labels], ["a", "x"], allow_missing=True)
    with pytest.raises(LabelError, match="without features"):
        refuse_mismatches([labels], ["a", "x"], allow_unlabelled=True)
    refuse_mismatches([labels], ["a", "x"], allow_missing=True, allow_unlabelled=True)
    refuse_mismatches([labels], ["a", "b"])


def test_ids_with_the_suffix_of_a_file_are_recognised(tmp_path: Path) -> None:
    labels = table(tmp_path, "a.svs,1", "b.svs,2")
    with pytest.raises(LabelError, match="ids without the file's suffix"):
        refuse_mismatches([labels], ["a", "b"])


def test_features_of_one_making(tmp_path: Path, cohort: SimpleNamespace) -> None:
    cohort.write_cohort(tmp_path, 3)
    headers = read_headers(list_features(tmp_path))
    header = require_one_making(headers, tmp_path)
    assert (header.width, header.region_px, header.patches) == (8, 1024, "all")
    require_visible_patches(headers, "plain")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"encoder_hash": "f" * 64}, r"encoder: made-up \(0000.*made-up \(ffff"),
        ({"normalisation": "none"}, r"normalisation: .*none \(1 slides, such as stranger\)"),
        ({"spacing_um_target": 0.25}, r"spacing in µm: 0.5 \(3 slides.*0.25 \(1 slides"),
        ({"background_below": 0.1}, "background below: 0.0"),
        (
            {"mask_level": "both", "token_px": 256, "token_bits": np.zeros((1, 1), np.uint8)},
            r"mask level: region \(3 slides.*both \(1 slides",
        ),
    ],
)
def test_features_of_different_making_are_refused_in_one_line(
    tmp_path: Path, cohort: SimpleNamespace, changed: dict[str, object], message: str
) -> None:
    cohort.write_cohort(tmp_path, 3)
    stranger = cohort.slide_features("stranger", 1, **changed)
    write_features(tmp_path / "stranger.h5", stranger)
    with pytest.raises(RecipeError, match=message) as caught:
        require_one_making(read_headers(list_features(tmp_path)), tmp_path)
    assert "\n" not in str(caught.value)


def test_plain_training_needs_all_patches_of_all_slides(
    tmp_path: Path, cohort: SimpleNamespace
) -> None:
    cohort.write_cohort(tmp_path, 3)
    sparse = cohort.slide_features("sparse", 1, patches="tissue")
    write_features(tmp_path / "sparse.h5", sparse)
    headers = read_headers(list_features(tmp_path))
    require_visible_patches(headers, "masked")
    with pytest.raises(ModelError, match=r"1 files of tissue patches \(sparse\).*--plain"):
        require_visible_patches(headers, "plain")


@pytest.mark.parametrize(
    ("level", "trains", "other"), [("both", "masked", "plain"), ("patch", "plain", "masked")]
)
def test_masked_tokens_go_with_one_kind_of_attention(
    tmp_path: Path, cohort: SimpleNamespace, level: str, trains: Attention, other: Attention
) -> None:
    slide = cohort.slide_features("s", 1, mask_level=level, token_px=256)
    bits = np.zeros((len(slide.features), 1), np.uint8)
    write_features(tmp_path / "s.h5", replace(slide, token_bits=bits))
    headers = read_headers(list_features(tmp_path))
    require_visible_patches(headers, trains)
    with pytest.raises(ModelError, match=rf"1 files of mask level {level} \(s\)"):
        require_visible_patches(headers, other)


def test_unreadable_and_renamed_files_are_reported_together(
    tmp_path: Path, cohort: SimpleNamespace
) -> None:
    cohort.write_cohort(tmp_path, 2)
    (tmp_path / "slide000.h5").rename(tmp_path / "other.h5")
    (tmp_path / "broken.h5").write_bytes(b"not HDF5")
    with pytest.raises(LabelError) as caught:
        read_headers(list_features(tmp_path))
    assert "1 unreadable files (broken.h5: this feature file cannot be read" in str(caught.value)
    assert "1 files named after another slide (other.h5 holds slide000)" in str(caught.value)
