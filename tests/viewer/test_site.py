from __future__ import annotations

import hashlib
import io
import json
import re
from importlib import resources

import numpy as np
import pytest
from PIL import Image

import hvit_cli.viewer
from hvit_cli.viewer.pixels import SlidePixels
from hvit_cli.viewer.scene import Scene, cells
from hvit_cli.viewer.site import ASSETS, Site

KEY = "k" * 22


def body(site: Site, rest: str) -> bytes:
    answer = site.answer(f"/{KEY}/{rest}")
    assert answer is not None, rest
    return answer.body


@pytest.mark.parametrize(
    ("rest", "kind"),
    [
        ("", "text/html; charset=utf-8"),
        ("page.js", "text/javascript; charset=utf-8"),
        ("viewer.css", "text/css; charset=utf-8"),
        ("icon.svg", "image/svg+xml"),
        ("openseadragon.LICENSE.txt", "text/plain; charset=utf-8"),
        ("scene.json", "application/json"),
        ("cells/plain-attention-region.json", "application/json"),
        ("slide/3/1_1.jpg", "image/jpeg"),
        ("map/masked-attention-region/rank/all/1/0_0.png", "image/png"),
        ("map/plain-attention-region/raw/tissue/1/0_0.png", "image/png"),
        ("grey/plain-attention-region/all/1/0_0.png", "image/png"),
        ("marks/unseen/0/0_0.png", "image/png"),
        ("marks/regions/0/0_0.png", "image/png"),
    ],
)
def test_every_address_has_its_type(site: Site, rest: str, kind: str) -> None:
    answer = site.answer(f"/{KEY}/{rest}")
    assert answer is not None
    assert answer.content_type == kind
    if kind.startswith("image/") and "svg" not in kind:
        with Image.open(io.BytesIO(answer.body)) as picture:
            assert picture.format == kind.removeprefix("image/").upper()


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/index.html",
        "/scene.json",
        f"/{KEY}",
        f"//{KEY}/",
        f"/{KEY[:-1]}/",
        f"/{KEY.upper()}/",
        f"/{KEY}x/",
        f"{KEY}/",
        f"/{KEY}/?x=1",
        f"/{KEY}/#x",
        f"/{KEY}/..",
        f"/{KEY}/../{KEY}/",
        f"/{KEY}/../../../../etc/passwd",
        f"/{KEY}//etc/passwd",
        f"/{KEY}/etc/passwd",
        f"/{KEY}/%2e%2e/%2e%2e/etc/passwd",
        f"/{KEY}/..%2f..%2fetc%2fpasswd",
        f"/{KEY}/..\\..\\etc\\passwd",
        f"/{KEY}/....//....//etc/passwd",
        f"/{KEY}/page.js/../../server.py",
        f"/{KEY}/assets/page.js",
        f"/{KEY}/openseadragon.json",
        f"/{KEY}/site.py",
        f"/{KEY}/page.js%00.png",
        f"/{KEY}/page.js\0",
        f"/{KEY}/page.js\n",
        f"/{KEY}/slide/0/0_0.png",
        f"/{KEY}/slide/0/0_0.jpg/..",
        f"/{KEY}/slide/99/0_0.jpg",
        f"/{KEY}/slide/0/1_0.jpg",
        f"/{KEY}/slide/0/-1_0.jpg",
        f"/{KEY}/slide/3/999999_999999.jpg",
        f"/{KEY}/slide/3/9999999999999999999999_0.jpg",
        f"/{KEY}/slide/٣/0_0.jpg",
        f"/{KEY}/cells/../../scene.json",
        f"/{KEY}/cells/nothing.json",
        f"/{KEY}/map/nothing/rank/all/0/0_0.png",
        f"/{KEY}/map/masked-attention-region/minmax/all/0/0_0.png",
        f"/{KEY}/map/masked-attention-region/rank/none/0/0_0.png",
        f"/{KEY}/marks/other/0/0_0.png",
        "/ключ/",
        "http://example.com/",
        f"http://127.0.0.1/{KEY}/",
    ],
)
def test_any_other_path_leads_nowhere(site: Site, path: str) -> None:
    assert site.answer(path) is None


def test_tiles_of_the_slide_are_its_pixels(site: Site, pixels: SlidePixels) -> None:
    tile = pixels.pyramid.tile(3, 2, 1)
    assert tile is not None
    with Image.open(io.BytesIO(body(site, "slide/3/2_1.jpg"))) as picture:
        sent = np.asarray(picture).astype(float)
    assert sent.shape == (512, 512, 3)
    # The picture is noise, of which JPEG loses much; what it keeps of every 8×8 pixels is right.
    lost = (sent - pixels.read(tile)).reshape(64, 8, 64, 8, 3).mean(axis=(1, 3))
    assert np.abs(lost).max() < 5 and np.abs(lost).mean() < 0.5


def test_the_scene_says_what_the_page_shows(site: Site, scene: Scene) -> None:
    said = json.loads(body(site, "scene.json"))
    assert said["slide"] == scene.slide_id
    assert said["sizeLevel0"] == [2900, 1700]
    assert said["lastZoom"] == 3
    assert said["watermark"] == scene.watermark
    assert [one["attention"] for one in said["said"]] == ["masked", "plain"]
    assert [one["hasSeenGlass"] for one in said["layers"]] == [False, True]
    assert said["hasUnseen"]
    layer = said["layers"][0]
    assert [scale["key"] for scale in layer["scales"]] == ["relative", "rank", "raw"]
    assert layer["scales"][0]["limits"] == [0, 3]
    assert len(layer["colours"]) == 256
    assert all(re.fullmatch("#[0-9a-f]{6}", colour) for colour in layer["colours"])


def test_cells_are_the_numbers_of_the_map(site: Site, scene: Scene) -> None:
    sent = json.loads(body(site, "cells/masked-attention-region.json"))
    layer = scene.layers[0]
    assert sent == json.loads(json.dumps(cells(layer)))
    for scale, shade in layer.shades.items():
        one = shade.patch_map
        for i, value in enumerate(sent[scale]):
            if not one.visible[i]:
                assert value is None
            else:
                assert value == pytest.approx(one.value[i], rel=1e-5)
    assert sent["xy_level0"] == one.patch_xy_level0.tolist()
    assert [4 * r + c for r, c in zip(sent["row"], sent["column"], strict=True)] == list(
        one.patch_index
    )


def test_a_slide_without_maps_has_a_page_too(scene: Scene, pixels: SlidePixels) -> None:
    from dataclasses import replace

    bare = Site(KEY, replace(scene, layers=(), said=(), mask=None), pixels)
    said = json.loads(body(bare, "scene.json"))
    assert said["layers"] == [] and said["hasUnseen"] is False
    assert bare.answer(f"/{KEY}/marks/unseen/0/0_0.png") is None


def test_openseadragon_is_the_pinned_one_with_its_licence() -> None:
    folder = resources.files(hvit_cli.viewer) / "assets"
    pinned = json.loads((folder / "openseadragon.json").read_text())
    script = (folder / pinned["file"]).read_bytes()
    assert hashlib.sha256(script).hexdigest() == pinned["sha256"]
    assert script.startswith(f"//! openseadragon {pinned['version']}".encode())
    licence = (folder / pinned["licence_file"]).read_text()
    assert "Redistribution and use in source and binary forms" in licence
    assert pinned["version"] in (folder / "index.html").read_text()


def test_what_the_page_is_made_of_asks_nothing_of_other_machines() -> None:
    folder = resources.files(hvit_cli.viewer) / "assets"
    for name in ASSETS:
        if name.startswith("openseadragon") or name == "icon.svg":
            continue
        text = (folder / name).read_text()
        assert "http:" not in text and "https:" not in text, name
        assert not re.search(r"\bstyle=|\bon[a-z]+=\"|<script>", text), name
