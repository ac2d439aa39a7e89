from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from hvit_cli.storage.pictures import is_unaltered_jpeg, write_jpeg


def test_viewers_see_the_picture_and_every_altered_byte_is_found(tmp_path: Path) -> None:
    ramp = np.linspace(0, 255, 64).astype(np.uint8)
    drawn = np.stack([np.tile(ramp, (48, 1))] * 3, axis=-1)
    path, plain = tmp_path / "a.jpg", tmp_path / "plain.jpg"
    write_jpeg(path, drawn, quality=90)
    Image.fromarray(drawn).save(plain, quality=90)
    assert np.array_equal(np.asarray(Image.open(path)), np.asarray(Image.open(plain)))
    assert is_unaltered_jpeg(path)
    content = path.read_bytes()
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        assert not is_unaltered_jpeg(path)
    for end in (0, 1, 50, len(content) - 1):
        path.write_bytes(content[:end])
        assert not is_unaltered_jpeg(path)
    assert not is_unaltered_jpeg(plain)
    assert not is_unaltered_jpeg(tmp_path / "absent.jpg")
