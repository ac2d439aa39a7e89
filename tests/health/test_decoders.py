from __future__ import annotations

from pathlib import Path

import numpy as np
import openslide
import pytest

from hvit_cli.health import decoders
from hvit_cli.health.decoders import check_decoders, gradient, jpeg2000_slide


def test_both_libraries_read_what_was_written(tmp_path: Path) -> None:
    checks = list(check_decoders(tmp_path))
    assert len(checks) == 5
    assert {check.state for check in checks} == {"fine"}, checks
    assert sum("JPEG 2000" in check.name for check in checks) == 1


def test_the_jpeg_2000_slide_is_one_in_the_eyes_of_openslide(tmp_path: Path) -> None:
    with openslide.OpenSlide(jpeg2000_slide(tmp_path / "a.svs")) as slide:
        assert slide.properties["openslide.vendor"] == "aperio"
        assert slide.properties["openslide.mpp-x"] == "0.5"
        assert slide.dimensions == (256, 256)


def test_wrong_pixels_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoders, "_through_vips", lambda _: np.flip(gradient(), axis=0))
    broken = [check for check in check_decoders(tmp_path) if check.state == "broken"]
    assert len(broken) == 2
    assert all("libvips" in check.name and "differ" in check.found for check in broken)
