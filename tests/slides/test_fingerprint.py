from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest

from hvit_cli.errors import UnreadableSlideError
from hvit_cli.slides.fingerprint import fingerprint, full_hash

MIB = 1 << 20


def test_it_is_the_hash_of_the_first_and_last_mib(tmp_path: Path) -> None:
    content = np.random.default_rng(0).bytes(3 * MIB)
    path = tmp_path / "a.svs"
    path.write_bytes(content)
    expected = hashlib.sha256(content[:MIB] + content[-MIB:]).hexdigest()
    assert fingerprint(path, ((4, 3), (2, 1))) == {
        "bytes": 3 * MIB,
        "sha256_of_ends": expected,
        "sizes": [[4, 3], [2, 1]],
    }
    assert full_hash(path) == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("length", [0, 1, MIB - 1, MIB, MIB + 1])
def test_short_files_have_one_too(tmp_path: Path, length: int) -> None:
    content = bytes(length)
    path = tmp_path / "a.svs"
    path.write_bytes(content)
    expected = hashlib.sha256(content[:MIB] + content[max(0, length - MIB) :]).hexdigest()
    assert fingerprint(path, ())["sha256_of_ends"] == expected


def test_only_the_ends_are_read(tmp_path: Path) -> None:
    """A sparse file of a terabyte: reading it whole would take an hour."""
    path = tmp_path / "huge.svs"
    with path.open("wb") as file:
        file.truncate(1 << 36)
    assert fingerprint(path, ())["bytes"] == 1 << 36


def test_any_file_of_a_slide_of_several_counts(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "dicom"
    shutil.copytree(data / "slides" / "dicom_cmu1small", folder)
    folder.chmod(0o755)
    before = fingerprint(folder, ())
    assert before["bytes"] == sum(p.stat().st_size for p in folder.iterdir())
    middle = sorted(folder.iterdir())[5]
    middle.chmod(0o644)
    middle.write_bytes(middle.read_bytes() + b"\0\0")
    assert fingerprint(folder, ()) != before


def test_an_mrxs_slide_counts_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "a.mrxs"
    path.write_bytes(b"index")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "Data0000.dat").write_bytes(b"pixels")
    before = fingerprint(path, ())
    assert before["bytes"] == len(b"indexpixels")
    (tmp_path / "a" / "Data0000.dat").write_bytes(b"PIXELS")
    assert fingerprint(path, ()) != before


def test_a_vanished_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UnreadableSlideError, match=r"gone\.svs: the file cannot be read"):
        fingerprint(tmp_path / "gone.svs", ())
