"""Names of slides, sets and models in what people open: results, figures, cards, the viewer."""

from __future__ import annotations

import csv
import html
import http.client
import json
import re
import runpy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import openslide  # noqa: F401 - before torch
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from hvit_cli.cli.app import app
from hvit_cli.models.encoder_specs import EncoderSpec
from hvit_cli.models.vit import VisionTransformer, VitShape
from hvit_cli.pretraining.card import encoder_card
from hvit_cli.settings import StressSettings
from hvit_cli.storage.features import write_features
from hvit_cli.storage.markdown import as_text, table
from hvit_cli.storage.work import WorkFolder
from hvit_cli.training.contact_sheet import worst_slides, write_contact_sheet
from hvit_cli.training.curves import draw_curves
from hvit_cli.training.epochs import EpochRecord
from hvit_cli.training.figures import label_figure
from hvit_cli.training.measures import Graded
from hvit_cli.viewer.server import ViewerServer
from hvit_cli.viewer.site import Site

_TESTS = Path(__file__).parents[1]
VIEWER: Any = SimpleNamespace(**runpy.run_path(str(_TESTS / "viewer" / "conftest.py")))
COHORT: Any = SimpleNamespace(**runpy.run_path(str(_TESTS / "training" / "cohort_on_disk.py")))
STRESS: Any = SimpleNamespace(**runpy.run_path(str(_TESTS / "measures" / "test_stress.py")))

# Names that files can have, and so slides.
SLIDES = (
    "<img src=x onerror=alert(1)>",
    "=1+1",
    "+cmd|' -C calc'!A0",
    "\"'&<script>alert(1)<&script>",
    "a|b",
    "[link](javascript:alert(1))",
    "$\\frac{1}$".replace("\\", ""),
    "`code` *bold* _it_",
    "片" * 60,
    "x" * 180,
    "%s{}${HOME}$(id)`id`",
    "</textarea><svg onload=alert(1)>".replace("/", ""),
)
# What else tables may hold: cells of several lines, marks of direction, any length.
NAMES = (
    *SLIDES,
    "$\\frac{1$",
    "a\nb\r\n# c",
    "\u202egnp.exe",
    "z" * 5000,
    "\ufdfd" * 40,
    "../../secret",
    "[x]: javascript:alert(1)",
)

# fmt: off
SMALL = (
    *("--region-dim", "16", "--region-depth", "1", "--region-heads", "2"),
    *("--slide-dim", "16", "--slide-depth", "1", "--slide-heads", "2"),
    *("--epochs", "1", "--device", "cpu"),
)
# fmt: on


def hvit(*arguments: object) -> str:
    ended = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert ended.exit_code == 0, ended.output
    return str(ended.stdout)


def is_harmless(page: str) -> None:
    """No HTML, no link and no heading that the page itself did not write."""
    assert not re.search(r"<[^ ]", page)
    assert not re.search(r"(?<!\\)\]\(", page)
    assert not re.search(r"(?<!\\)\]:", page)
    assert all(letter.isprintable() or letter == "\n" for letter in page)


@settings(max_examples=300, deadline=10_000)
@given(
    st.one_of(
        st.sampled_from(NAMES), st.text(max_size=40), st.text("<>&|`*[]()!$\\:\n ab", max_size=12)
    )
)
def test_any_name_is_text_in_markdown(name: str) -> None:
    text = as_text(name)
    is_harmless(text + "\n")
    # Read as CommonMark reads it, it is the name.
    shown = "".join(letter if letter.isprintable() else " " for letter in name)
    assert html.unescape(re.sub(r"\\([\\`*|$\]])", r"\1", text)) == html.unescape(shown) or (
        "&amp;" in text
    )
    (line,) = table([name], [])[:1]
    assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) == 2


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cross-validation of slides and a test set with hostile names, and its evaluation."""
    work = tmp_path_factory.mktemp("trained")
    rows = []
    for number in range(24):
        name = SLIDES[number] if number < len(SLIDES) else f"slide{number}"
        slide = COHORT.slide_features(name, number % 6)
        write_features(work / "features" / "made-up-1" / f"{name}.h5", slide)
        part = {0: ("", NAMES[0]), 1: ("", "$\\frac{1$|=1+1")}.get(number % 6, (number % 2, ""))
        part = part if number >= 12 else (number % 2, "")
        rows.append((name, number % 6, *part, NAMES[number % len(NAMES)]))
    for path, columns in (("folds.csv", 4), ("labels.csv", 5)):
        with (work / path).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(("slide_id", "label", "fold", "set", "hospital")[:columns])
            writer.writerows(row[:columns] for row in rows)
    hvit(
        *("train", work, work / "labels.csv", "--folds", work / "folds.csv", "-w", work),
        *("--attention", "masked", "plain", *SMALL),
    )
    return work


def test_results_of_a_training_are_text(trained: Path) -> None:
    out = trained / "models" / "cross-validation"
    page = (out / "results.md").read_text()
    is_harmless(page)
    # The set's name stands there, to be read.
    assert "&lt;img src=x onerror=alert(1)&gt;" in page
    assert "\\$\\\\frac{1\\$\\|=1+1" in page
    tables = [*out.rglob("*.csv")]
    assert len(tables) > 3
    for path in tables:
        for row in csv.reader(path.read_text(encoding="utf-8").splitlines()):
            for cell in row:
                if cell.startswith(("=", "+", "-", "@")):
                    float(cell)
    json.loads((out / "results.json").read_text())


def test_an_evaluation_by_hostile_groups_is_written_and_read_again(
    trained: Path, tmp_path: Path
) -> None:
    out = trained / "models" / "cross-validation"
    predictions = next(iter(sorted((out / "predictions").glob("*.csv"))))
    written = tmp_path / "numbers"
    hvit(
        *("evaluate", predictions, trained / "labels.csv", "--by", "hospital", "--worst", "9"),
        *("--allow-missing", "--draws", "0", "-o", written, "-w", trained),
    )
    said = json.loads((written / "evaluation.json").read_text())
    groups = {part["value"] for part in said["subgroups"] if part["column"] == "hospital"}
    assert groups <= {name.replace("\r\n", "\n") for name in NAMES}
    assert len(groups) > 2
    for picture in written.glob("*.png"):
        with Image.open(picture) as opened:
            opened.verify()


@pytest.mark.parametrize("name", NAMES, ids=lambda name: ascii(name[:20]))
def test_figures_take_any_title_and_legend(name: str, tmp_path: Path) -> None:
    record = EpochRecord(
        epoch=1,
        train_loss=1.0,
        tune_loss=1.0,
        tune_mae=1.0,
        tune_kappa=0.5,
        learning_rate=0.1,
        seconds=1.0,
        best=True,
    )
    draw_curves(tmp_path / "curves.png", [record], title=name)
    label_figure({name: [3, 2], f"{name}2": [1, 0]}, tmp_path / "labels.png")
    for picture in tmp_path.iterdir():
        with Image.open(picture) as opened:
            # A long name does not make the figure wide, or its axes vanish.
            assert max(opened.size) < 2000


def test_a_contact_sheet_opens_no_picture_outside_and_takes_any_name(tmp_path: Path) -> None:
    work = WorkFolder(tmp_path / "work" / "below")
    secret = work.qc_picture("../../secret")
    (work.path / "qc").mkdir(parents=True)
    Image.new("RGB", (40, 40), "red").save(secret)
    assert secret.is_file()
    ids = [name for name in NAMES if "\0" not in name]
    slides = Graded(
        slide_ids=tuple(ids),
        label=np.zeros(len(ids), np.int64),
        grade=np.full(len(ids), 3, np.int64),
        score=np.full(len(ids), 3.0),
        group=None,
    )
    worst = worst_slides(slides, len(ids), work)
    assert set(write_contact_sheet(worst, tmp_path / "sheet.png")) == set(ids)


def test_cards_and_pages_of_measures_are_text() -> None:
    page = "\n".join(
        encoder_card(
            EncoderSpec(
                name=name, width=16, input_px=32, token_px=16, pretraining_slides=(name, "a"),
                licence=name,
            ),
            VisionTransformer(VitShape(width=16, depth=1, heads=2, grid_side=2)),
            folder="encoder",
            recipe={"settings": {}},
            records=[],
            notes=[name],
        )
        for name in NAMES
    )  # fmt: skip
    is_harmless(page)
    rows = [replace(STRESS.ROW, slide_id=name, model=name, note=name) for name in NAMES]
    is_harmless(STRESS.stress_page(rows, StressSettings(draws=0)))


@pytest.fixture(scope="module")
def scene() -> Any:
    raw_map = VIEWER.raw_map.__wrapped__()
    return VIEWER.scene.__wrapped__(raw_map)


@pytest.fixture
def ask(tmp_path: Path, scene: Any) -> Callable[[str, str], tuple[http.client.HTTPResponse, bytes]]:
    """Serves a scene whose every word is a name, and asks for an address below its key."""

    class NoPixels:
        pyramid = SimpleNamespace(tile_px=256, last_zoom=3)

        def close(self) -> None:
            pass

    def asked(name: str, rest: str) -> tuple[http.client.HTTPResponse, bytes]:
        hostile = replace(
            scene,
            slide_id=name,
            model=name,
            watermark=name,
            remarks=(name,),
            said=tuple(replace(one, note=name, grade=name) for one in scene.said),
            layers=tuple(replace(one, name=name, about=name) for one in scene.layers),
        )
        server = ViewerServer(Site("key", hostile, NoPixels()))  # type: ignore[arg-type]
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        try:
            connection.request("GET", f"/key/{rest}")
            answer = connection.getresponse()
            return answer, answer.read()
        finally:
            connection.close()
            server.close()

    return asked


@pytest.mark.parametrize("name", NAMES, ids=lambda name: ascii(name[:20]))
def test_the_viewer_sends_names_as_data_and_never_as_a_page(name: str, ask: Any) -> None:
    answer, body = ask(name, "scene.json")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    said = json.loads(body)
    assert said["slide"] == said["model"] == said["watermark"] == said["layers"][0]["about"] == name
    # The page is the same for every slide: no name is ever put into it here.
    page = ask(name, "")[1]
    assert page == ask("drawn", "")[1]
    assert "script-src 'self'" in answer.headers["Content-Security-Policy"]
    assert "unsafe" not in answer.headers["Content-Security-Policy"]


def test_the_viewers_scripts_write_text_and_no_html() -> None:
    """What the page does with a name, it does by `textContent`."""
    assets = Path(__file__).parents[2] / "hvit_cli" / "viewer" / "assets"
    own = [path for path in assets.glob("*.js") if not path.name.startswith("openseadragon")]
    assert len(own) >= 5
    for path in own:
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc",
            path.read_text(),
        ), path
