from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import openslide
import pytest

from hvit_cli.health import decoders
from hvit_cli.health.check import Check
from hvit_cli.health.decoders import check_decoders, gradient, jpeg2000_slide
from hvit_cli.slides.decoders.jpeg_tiles import JpegTileDecoder


def test_all_libraries_read_what_was_written(tmp_path: Path) -> None:
    checks = list(check_decoders(tmp_path))
    assert len(checks) == 6
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


def test_the_decoder_of_jpeg_tiles_is_named_and_compared_with_openslide(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def one() -> Check:
        (check,) = [c for c in check_decoders(tmp_path) if "simplejpeg" in c.name]
        return check

    found = one()
    assert found.name == f"libjpeg-turbo (simplejpeg {version('simplejpeg')}), JPEG tiles"
    assert found.found == "4 tiles with the bytes of OpenSlide"

    read = JpegTileDecoder.read

    def off_by_one(self: JpegTileDecoder, *arguments: Any) -> Any:
        pixels = read(self, *arguments)
        pixels[300, 300] ^= 1
        return pixels

    with monkeypatch.context() as patch:
        patch.setattr(JpegTileDecoder, "read", off_by_one)
        found = one()
    assert (found.state, found.found) == (
        "broken",
        "1 pixels of 4 tiles are not those of OpenSlide",
    )
    # As where the two disagree on the sample by which a decoder is chosen.
    monkeypatch.setattr(JpegTileDecoder, "agrees", lambda _: False)
    found = one()
    assert (found.state, found.found) == ("beware", "libvips decodes them, slower")
