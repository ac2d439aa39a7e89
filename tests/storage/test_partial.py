from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from hvit_cli.errors import StorageError
from hvit_cli.storage.partial import FOLDER, NOBODYS_AGE_S, PartialFeatures

KEY = {"recipe": {"settings": {"a": 1}}, "wanted": "x"}
CHUNKS = [np.arange(n * 6, dtype=np.float16).reshape(n, 6) for n in (3, 1, 4)]
WHOLE = np.concatenate(CHUNKS)


def opened(folder: Path, key: dict[str, object] | None = None) -> PartialFeatures:
    return PartialFeatures(folder / "slide.h5", key or KEY, 6)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    partial = opened(tmp_path)
    for chunk in CHUNKS:
        partial.append(chunk)
    return partial.path


def test_rows_come_back_in_order_and_are_gone_with_their_folder(
    written: Path, tmp_path: Path
) -> None:
    again = opened(tmp_path)
    rows = again.rows()
    assert rows.dtype == np.float16
    np.testing.assert_array_equal(rows, WHOLE)
    again.remove()
    assert not list(tmp_path.iterdir())
    assert opened(tmp_path).rows().shape == (0, 6)


def test_every_truncation_leaves_the_chunks_before_it(written: Path, tmp_path: Path) -> None:
    whole = written.read_bytes()
    header = len(whole) - sum(4 + chunk.nbytes + 32 for chunk in CHUNKS)
    ends = header + np.cumsum([4 + chunk.nbytes + 32 for chunk in CHUNKS])
    for length in range(len(whole)):
        written.write_bytes(whole[:length])
        kept = int((ends <= length).sum())
        expected = np.concatenate([np.zeros((0, 6), np.float16), *CHUNKS[:kept]])
        np.testing.assert_array_equal(opened(tmp_path).rows(), expected)


def test_a_flipped_bit_anywhere_ends_what_is_believed(written: Path, tmp_path: Path) -> None:
    whole = written.read_bytes()
    for place in range(len(whole)):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << place % 8
        written.write_bytes(flipped)
        rows = opened(tmp_path).rows()
        assert len(rows) in (0, 3, 4)
        np.testing.assert_array_equal(rows, WHOLE[: len(rows)])


def test_what_is_appended_replaces_a_torn_end(written: Path, tmp_path: Path) -> None:
    with written.open("r+b") as file:
        file.truncate(written.stat().st_size - 7)
    again = opened(tmp_path)
    assert len(again.rows()) == 4
    again.append(CHUNKS[2])
    np.testing.assert_array_equal(opened(tmp_path).rows(), WHOLE)


def test_rows_of_another_recipe_are_not_taken_and_give_way(written: Path, tmp_path: Path) -> None:
    other = opened(tmp_path, {**KEY, "wanted": "y"})
    assert len(other.rows()) == 0
    other.append(CHUNKS[1])
    assert len(opened(tmp_path).rows()) == 0
    np.testing.assert_array_equal(opened(tmp_path, {**KEY, "wanted": "y"}).rows(), CHUNKS[1])


def test_chunks_of_two_processes_are_never_mixed(written: Path, tmp_path: Path) -> None:
    one, two = opened(tmp_path), opened(tmp_path)
    assert len(one.rows()) == len(two.rows()) == 8
    one.append(CHUNKS[0])
    two.append(CHUNKS[1])
    one.append(CHUNKS[2])
    rows = opened(tmp_path).rows()
    np.testing.assert_array_equal(rows, np.concatenate([WHOLE, CHUNKS[1]]))


def test_what_nobody_went_on_with_is_swept(written: Path, tmp_path: Path) -> None:
    old = tmp_path / FOLDER / "old"
    old.write_bytes(b"rows")
    long_ago = written.stat().st_mtime - NOBODYS_AGE_S - 60
    os.utime(old, (long_ago, long_ago))
    PartialFeatures(tmp_path / "another.h5", KEY, 6).append(CHUNKS[0])
    assert not old.exists()
    assert written.exists()


def test_a_folder_that_cannot_be_written_to_is_one_line(tmp_path: Path) -> None:
    (tmp_path / FOLDER).write_text("a file in its place")
    with pytest.raises(StorageError, match="cannot be written"):
        opened(tmp_path).append(CHUNKS[0])
