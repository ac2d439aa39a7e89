from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hvit_cli.errors import UsageError
from hvit_cli.pipelines.heatmap import heatmap
from hvit_cli.pipelines.view import view
from hvit_cli.settings import (
    EmbeddingSettings,
    FigureSettings,
    HeatmapSettings,
    ReadingSettings,
    TissueSettings,
)
from hvit_cli.steps.choose import ModelRequest
from hvit_cli.storage.models import read_model, write_model
from hvit_cli.storage.work import WorkFolder
from hvit_cli.viewer.server import ViewerServer


class Viewing:
    """Opens viewers, and closes them when the test ends."""

    def __init__(self, work: Path, model: Path) -> None:
        self.work, self.model = work, model
        self.open: list[ViewerServer] = []

    def __call__(self, slide: Path, **changes: Any) -> ViewerServer:
        arguments: dict[str, Any] = {
            "work": WorkFolder(self.work),
            "settings": HeatmapSettings(),
            "request": ModelRequest(model=str(self.model)),
            "reading": ReadingSettings(),
            "tissue": TissueSettings(),
            "embedding": EmbeddingSettings(device="cpu"),
        }
        server = view(slide, **{**arguments, **changes})
        self.open.append(server)
        return server


@pytest.fixture
def viewing(tmp_path: Path, model: Path) -> Iterator[Viewing]:
    opened = Viewing(tmp_path / "work", model)
    yield opened
    for server in opened.open:
        server.close()


def get(server: ViewerServer, rest: str) -> Any:
    with urllib.request.urlopen(server.url + rest, timeout=30) as answer:
        body = answer.read()
        return json.loads(body) if rest.endswith(".json") else body


def test_page_shows_grades_maps_and_numbers_of_the_heatmap_command(
    viewing: Viewing, slides: Path, tmp_path: Path
) -> None:
    server = viewing(slides / "drawn.tiff")
    said = get(server, "scene.json")
    numbers = tmp_path / "numbers.npz"
    (record,) = heatmap(
        [slides / "drawn.tiff"],
        work=WorkFolder(tmp_path / "work"),
        out=tmp_path / "picture.png",
        scores=numbers,
        figure=FigureSettings(figure="6"),
        settings=HeatmapSettings(max_px=1200),
        request=ModelRequest(model=str(viewing.model)),
        reading=ReadingSettings(),
        tissue=TissueSettings(),
        embedding=EmbeddingSettings(device="cpu"),
    )
    assert record.product is not None
    for shown, verdict in zip(said["said"], record.product.verdicts, strict=True):
        assert shown["attention"] == verdict.attention
        assert shown["grade"] == f"ISUP grade {verdict.grade}"
        assert shown["score"] == f"score {verdict.score:.2f}"
        assert shown["note"] == "Drawn weights."
    assert said["slide"] == "drawn" and said["sizeLevel0"] == [1800, 1200]
    with np.load(numbers) as found:
        for kind, prefix in (("masked", ""), ("plain", "plain_")):
            columns = get(server, f"cells/{kind}-attention-region.json")
            value = [np.nan if one is None else one for one in columns["relative"]]
            np.testing.assert_allclose(value, found[f"{prefix}relative"], rtol=1e-5)
            np.testing.assert_array_equal(columns["xy_level0"], found[f"{prefix}patch_xy_level0"])
            assert columns["visible"] == found[f"{prefix}visible"].tolist()


def test_maps_are_those_asked_for_and_signed_ones_have_one_scale(
    viewing: Viewing, slides: Path
) -> None:
    server = viewing(slides / "drawn.tiff", maps=("contribution", "attention", "rollout"))
    layers = get(server, "scene.json")["layers"]
    assert [one["name"] for one in layers if one["attention"] == "masked"] == [
        "contribution · patch",
        "contribution · region",
        "attention · region",
        "attention · slide",
        "attention · region×slide",
        "rollout",
    ]
    for layer in layers:
        scales = [scale["key"] for scale in layer["scales"]]
        if layer["name"].startswith("contribution"):
            low, high = layer["scales"][0]["limits"]
            assert scales == ["raw"] and low == -high < 0
        else:
            assert scales[0] == "relative" and len(scales) == 4
        pair = [one for one in layers if one["name"] == layer["name"]]
        assert pair[0]["scales"] == pair[1]["scales"], "both attentions share their colours"


def test_one_attention_can_be_asked_for(viewing: Viewing, slides: Path) -> None:
    request = ModelRequest(model=str(viewing.model), attention="masked")
    said = get(viewing(slides / "drawn.tiff", request=request, maps=("attention",)), "scene.json")
    assert {one["attention"] for one in said["layers"]} == {"masked"}
    assert len(said["said"]) == 1


def test_a_slide_without_tissue_is_shown_and_said(viewing: Viewing, slides: Path) -> None:
    server = viewing(slides / "bare.tiff")
    said = get(server, "scene.json")
    assert said["layers"] == [] and said["said"] == []
    assert said["remarks"] == ["No tissue was found: nothing was graded."]
    assert get(server, "slide/0/0_0.jpg").startswith(b"\xff\xd8")


def test_a_models_watermark_and_note_are_passed_on(viewing: Viewing, slides: Path) -> None:
    write_model(replace(read_model(viewing.model), watermark="a toy, not for diagnosis"))
    said = get(viewing(slides / "drawn.tiff", maps=("single",)), "scene.json")
    assert said["watermark"] == "a toy, not for diagnosis"


def test_several_slides_are_refused(viewing: Viewing, slides: Path) -> None:
    with pytest.raises(UsageError, match="one slide is viewed at a time; found 2 slides"):
        viewing(slides)


def test_an_unknown_colour_map_is_refused_before_anything_is_computed(
    viewing: Viewing, slides: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="no such colour map"):
        viewing(slides / "drawn.tiff", settings=HeatmapSettings(colour_map="none"))
    assert not (tmp_path / "work").exists()


def test_ctrl_c_ends_the_command_with_0(slides: Path, model: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hvit_cli", "view", str(slides / "drawn.tiff"), "--no-browser"]
    running = subprocess.Popen(
        [*command, "--model", str(model), "-w", str(tmp_path / "work"), "--map", "attention"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert running.stdout is not None
    url = running.stdout.readline().strip()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/[\w-]{20,}/", url)
    # A connection that stays open must not hold the command up.
    with urllib.request.urlopen(url, timeout=30) as page:
        assert b"hvit view" in page.read()
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=20)
    assert running.returncode == 0, err
    assert out == ""
    assert "not a medical device" in err and "Traceback" not in err
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(url, timeout=5)
