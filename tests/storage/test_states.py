"""Whatever byte of a saved state is wrong, it is refused; other programs still read it."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import openslide  # noqa: F401 - before torch
import pytest
import torch

from hvit_cli.errors import DamagedFileError
from hvit_cli.storage.states import require_whole_state, write_state


@pytest.fixture
def state(tmp_path: Path) -> Path:
    path = tmp_path / "state.pt"
    write_state(path, {"weights": {"a": torch.arange(20.0), "b": torch.ones(3)}, "step": 7})
    return path


def test_pytorch_reads_a_sealed_state(state: Path) -> None:
    require_whole_state(state)
    content = torch.load(state, weights_only=True)
    assert content["step"] == 7
    assert content["weights"]["a"].tolist() == list(range(20))


def test_the_comment_of_the_archive_is_the_sha256_of_what_stands_before_it(state: Path) -> None:
    with zipfile.ZipFile(state) as archive:
        assert archive.testzip() is None
        comment = archive.comment.decode()
    assert comment == hashlib.sha256(state.read_bytes()[: -len(comment)]).hexdigest()


def test_equal_content_makes_equal_bytes(state: Path, tmp_path: Path) -> None:
    again = tmp_path / "another name.pt"
    write_state(again, torch.load(state, weights_only=True))
    assert again.read_bytes() == state.read_bytes()


def test_a_flip_in_any_byte_is_found(state: Path) -> None:
    content = state.read_bytes()
    for place in range(len(content)):
        state.write_bytes(
            content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1 :]
        )
        with pytest.raises(DamagedFileError, match="not what was written"):
            require_whole_state(state)


def test_a_state_cut_anywhere_or_lengthened_is_found(state: Path) -> None:
    content = state.read_bytes()
    for size in range(len(content)):
        state.write_bytes(content[:size])
        with pytest.raises(DamagedFileError, match="not what was written"):
            require_whole_state(state)
    state.write_bytes(content + b"0")
    with pytest.raises(DamagedFileError, match="not what was written"):
        require_whole_state(state)


def test_a_state_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DamagedFileError, match="cannot be read"):
        require_whole_state(tmp_path / "nothing.pt")
