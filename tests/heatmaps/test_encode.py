from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
from PIL import Image

from hvit_cli.errors import StorageError
from hvit_cli.heatmaps import encode


def save_png(image: Any, path: str) -> None:
    image.pngsave(path)


def test_strips_are_written_pixel_by_pixel(tmp_path: Path) -> None:
    picture = np.random.default_rng(1).integers(0, 256, (70, 31, 3), dtype=np.uint8)
    strips = [picture[:16], picture[16:17], picture[17:]]
    encode.encode(tmp_path / "a.png", strips, (31, 70), save_png)
    with Image.open(tmp_path / "a.png") as written:
        assert (np.asarray(written) == picture).all()


def test_a_reader_that_is_done_before_the_end_of_the_file_breaks_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Seen now and then on a slide: all rows were read, and the pipe was closed before the last
    # bytes of the file were in it.
    whole = encode._png

    def slow(*arguments: Any) -> Iterator[bytes]:
        pieces = list(whole(*arguments))
        yield b"".join(pieces[:-1])
        time.sleep(0.3)
        yield pieces[-1]

    monkeypatch.setattr(encode, "_png", slow)
    # More than the writer's buffer, so that the rows do not wait for the end.
    picture = np.full((200, 200, 3), 7, np.uint8)
    # Without its cache, as slides are read, libvips lets go of the pipe at once.
    pyvips.cache_set_max(0)
    encode.encode(tmp_path / "a.png", [picture], (200, 200), save_png)
    with Image.open(tmp_path / "a.png") as written:
        assert (np.asarray(written) == picture).all()


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    picture = np.zeros((2000, 500, 3), np.uint8)
    with pytest.raises(StorageError, match="cannot be written"):
        encode.encode(tmp_path / "no" / "a.png", [picture], (500, 2000), save_png)
