from __future__ import annotations

import shutil
from pathlib import Path

from hvit_cli.demo.model import demo_model_folder
from hvit_cli.health.model_files import check_model


def test_the_bundled_model_is_the_one_that_was_written() -> None:
    check = check_model(demo_model_folder(), "bundled model")
    assert check.state == "fine", check
    assert "weight files with their hashes" in check.found


def test_a_flipped_bit_in_any_weight_file_is_noticed(tmp_path: Path) -> None:
    for weights in sorted(demo_model_folder().glob("*.safetensors")):
        model = tmp_path / weights.stem
        shutil.copytree(demo_model_folder(), model)
        content = bytearray((model / weights.name).read_bytes())
        content[-1] ^= 1
        (model / weights.name).write_bytes(content)
        check = check_model(model, "copy")
        assert check.state == "broken", weights.name
        assert weights.name in check.found
        assert check.hint
