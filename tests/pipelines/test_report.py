from __future__ import annotations

import csv
import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hvit_cli.errors import LabelError, UsageError
from hvit_cli.pipelines.blind import blind
from hvit_cli.pipelines.predict import predict
from hvit_cli.pipelines.report import LabelSource, places_of, report
from hvit_cli.settings import (
    EmbeddingSettings,
    HeatmapSettings,
    ReadingSettings,
    ReportSettings,
    TissueSettings,
)
from hvit_cli.slides.entry import SlideEntry
from hvit_cli.steps.choose import ModelRequest
from hvit_cli.storage.features import read_features
from hvit_cli.storage.models import read_model
from hvit_cli.storage.work import WorkFolder

NASTY = "=cmd<img src=x onerror=alert(1)>"
Runner = Callable[..., list[Any]]


@pytest.fixture
def run(tmp_path: Path, model: Path) -> Runner:
    def start(sources: list[Path], what: Any = report, **changes: Any) -> list[Any]:
        given: dict[str, Any] = {
            "work": WorkFolder(tmp_path / "work"),
            "out": tmp_path / "out",
            "maps": HeatmapSettings(max_px=640),
            "settings": ReportSettings(top=2, picture_px=400),
            "request": ModelRequest(model=str(model)),
            "reading": ReadingSettings(),
            "tissue": TissueSettings(),
            "embedding": EmbeddingSettings(device="cpu"),
        }
        return list(what(sources, **{**given, **changes}))

    return start


@pytest.fixture
def several(slides: Path) -> Path:
    """The drawn slide, a slide of bare glass, and the drawn one again under the worst name."""
    shutil.copy(slides / "drawn.tiff", slides / f"{NASTY}.tiff")
    return slides


def test_a_slide_gets_its_page_with_the_grades_of_predict(
    run: Runner, slides: Path, model: Path, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    (record,) = run([slides / "drawn.tiff"], out=page)
    assert record.row.status == "done" and record.row.stage == "report"
    assert record.product.page == page
    assert not (tmp_path / "out").exists()
    text = page.read_text()
    for said in record.product.said:
        (prediction,) = (
            r.product
            for r in predict(
                [slides / "drawn.tiff"],
                work=WorkFolder(tmp_path / "elsewhere" / said.attention),
                out=None,
                request=ModelRequest(model=str(model), attention=said.attention),
                reading=ReadingSettings(),
                tissue=TissueSettings(),
                embedding=EmbeddingSettings(device="cpu"),
            )
        )
        assert prediction is not None
        assert (said.score, said.grade) == (prediction.score, prediction.grade)
        assert f"ISUP grade {said.grade}" in text
    assert [said.attention for said in record.product.said] == ["masked", "plain"]
    # Overview, two maps, two foremost and two last patches of one, two of the other.
    assert text.count('<img src="data:image/jpeg;base64,') == 3 + 4 + 2


def test_the_methods_have_the_numbers_of_recipe_and_model(
    run: Runner, slides: Path, model: Path, tmp_path: Path
) -> None:
    run([slides / "drawn.tiff"], out=tmp_path / "page.html")
    (file,) = (tmp_path / "work" / "features").glob("*/drawn.h5")
    features, folder = read_features(file), read_model(model)
    settings = features.recipe["settings"]
    text = (tmp_path / "page.html").read_text()
    methods = text[text.index("<h2>Methods</h2>") : text.index("<h2>Recipe</h2>")]
    tiling, tissue, sizes = settings["tiling"], settings["tissue"], folder.aggregator
    for said in (
        f"target spacing of {settings['reading']['spacing_um']:g} µm",
        f"within {100 * settings['reading']['spacing_tolerance']:g} %",
        f"{tiling['region_px']} × {tiling['region_px']} px",
        f"{tiling['patch_px']} × {tiling['patch_px']} px",
        f"tissue fraction of {tiling['min_tissue_fraction']:g}",
        f"median filter of {tissue['median_um']:g} µm",
        f"encoder {features.encoder} ({features.features.shape[1]} features, "
        f"weights {features.encoder_hash[:12]}, arithmetic in {features.precision}",
        f"{sizes.region_depth} blocks, width {sizes.region_dim}, {sizes.region_heads} heads",
        f"{sizes.slide_depth} layers, width {sizes.slide_dim}, {sizes.slide_heads} heads",
        "Drawn weights.",
    ):
        assert said in methods, said
    recipe = text[text.index("<h2>Recipe</h2>") :]
    for said in (features.recipe["inputs"]["mask_sha256"], *(m.sha256 for m in folder.members)):
        assert said in recipe
    assert str(tmp_path) not in text


def test_several_slides_have_pages_and_the_cohort_has_one(
    run: Runner, several: Path, tmp_path: Path
) -> None:
    records = run([several])
    assert {record.row.status for record in records} == {"done", "no_tissue"}
    out = tmp_path / "out"
    assert sorted(path.name for path in out.iterdir()) == sorted(
        ["bare.html", "cohort.html", "drawn.html", f"{NASTY}.html"]
    )
    assert "No tissue was found" in (out / "bare.html").read_text()
    text = (out / "cohort.html").read_text()
    assert "3 slides" in text and "1 of 3 slides have no grade" in text
    assert "<img src=x" not in text and "&lt;img src=x onerror=alert(1)&gt;" in text
    links = re.findall(r'href="([^"#][^"]*\.html)"', text)
    assert links == [
        "%3Dcmd%3Cimg%20src%3Dx%20onerror%3Dalert%281%29%3E.html",
        "bare.html",
        "drawn.html",
    ]


def test_a_cohort_alone_is_one_file_and_labels_put_errors_first(
    run: Runner, several: Path, tmp_path: Path
) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text(f"slide_id,isup_grade\ndrawn,5\n{NASTY},0\nbare,1\n")
    page = tmp_path / "all.html"
    records = run([several], out=page, labels=LabelSource(path=labels))
    assert not (tmp_path / "out").exists()
    score = {r.row.slide_id: r.product.said[0].score for r in records if r.product.said}
    text = page.read_text()
    shown = re.findall(r'<article id="slide-\d"><h3>([^<]*)</h3>', text)
    worst = sorted(score, key=lambda name: -abs(score[name] - {"drawn": 5, NASTY: 0}[name]))
    escaped = NASTY.replace("<", "&lt;").replace(">", "&gt;")
    assert shown == [*(escaped if name == NASTY else name for name in worst), "bare"]
    assert "Quadratic weighted kappa" in text and "slide report" not in text


def test_one_kind_of_attention_is_shown_where_it_is_asked_for(
    run: Runner, slides: Path, model: Path, tmp_path: Path
) -> None:
    (record,) = run(
        [slides / "drawn.tiff"],
        request=ModelRequest(model=str(model), attention="masked"),
        settings=ReportSettings(top=0, picture_px=400),
    )
    assert [said.attention for said in record.product.said] == ["masked"]
    text = (tmp_path / "out" / "drawn.html").read_text()
    assert "plain attention" not in text and text.count("<img ") == 2
    # Glass was not even embedded.
    (file,) = (tmp_path / "work" / "features").glob("*/drawn.h5")
    assert read_features(file).patches == "tissue"


def test_maps_in_grade_points_have_a_range_of_their_own_on_every_slide(
    run: Runner, several: Path, tmp_path: Path
) -> None:
    # Stained otherwise, so that its contributions differ.
    with Image.open(several / "drawn.tiff") as picture:
        pixels = np.asarray(picture.convert("RGB"))
    write_slide(pixels[:, ::-1, ::-1], several / f"{NASTY}.tiff")
    run(
        [several],
        maps=HeatmapSettings(map="contribution"),
        settings=ReportSettings(top=0, picture_px=400),
    )
    text = (tmp_path / "out" / "cohort.html").read_text()
    assert "What the score rests on" in text and "Where the model looked" not in text
    assert "a range of their own" in text
    assert len(re.findall(r'<linearGradient id="scale-\d">', text)) == 2
    assert "linearGradient" in (tmp_path / "out" / "drawn.html").read_text()


def write_slide(pixels: np.ndarray, path: Path) -> None:
    """Writes a tiled TIFF at 0.5 µm per pixel."""
    import pyvips

    pyvips.Image.new_from_array(np.ascontiguousarray(pixels)).tiffsave(
        str(path), tile=True, compression="deflate", xres=2000.0, yres=2000.0, resunit="cm"
    )


def test_what_cannot_be_reported_is_refused(run: Runner, slides: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(UsageError, match=r"ends in \.html"):
        run([slides / "drawn.tiff"], out=tmp_path / "notes.txt")
    with pytest.raises(UsageError, match="none for tokens"):
        run([slides / "drawn.tiff"], maps=HeatmapSettings(level="patch"))
    labels = tmp_path / "labels.csv"
    labels.write_text("slide_id,isup_grade\nother,5\n")
    with pytest.raises(LabelError, match="no slide has a label"):
        run([slides / "drawn.tiff"], labels=LabelSource(path=labels))
    entries = [SlideEntry(slide_id=name, path=Path(name)) for name in ("Cohort", "b")]
    with pytest.raises(UsageError, match="called as the cohort's page"):
        places_of(entries, WorkFolder(tmp_path), None)


def key_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "key.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def panels(path: Path) -> list[np.ndarray]:
    """The three panels of a sheet, found by their thin frames."""
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    framed = (pixels == 85).all(axis=2)
    rows = np.flatnonzero(framed.sum(axis=1) > pixels.shape[1] / 2)
    top, bottom = rows[0], rows[1]
    edges = np.flatnonzero(framed[top:bottom].mean(axis=0) > 0.9)
    return [
        pixels[top + 1 : bottom, a + 1 : b] for a, b in zip(edges[::2], edges[1::2], strict=True)
    ]


def test_blinded_sheets_show_what_the_key_says(run: Runner, several: Path, tmp_path: Path) -> None:
    records = run([several], blind)
    out = tmp_path / "out"
    key = key_of(out)
    # Glass has no sheet; names that begin like formulas are guarded in the table.
    assert sorted(row["slide_id"] for row in key) == sorted(["drawn", f"'{NASTY}"])
    sheets = sorted((out / "sheets").glob("*.png"))
    assert [path.name for path in sheets] == sorted(row["file"] for row in key)
    assert sum(len(record.product) for record in records) == 2
    by_kind = []
    for row in key:
        path = out / "sheets" / row["file"]
        assert hashlib.sha256(path.read_bytes()).hexdigest() == row["sha256"]
        slide, a, b = panels(path)
        assert not np.array_equal(a, b) and not np.array_equal(slide, a)
        by_kind.append({row["A"]: a, row["B"]: b})
    # One slide under two names: the key is right on both sheets or on neither.
    for kind in ("masked", "plain"):
        np.testing.assert_array_equal(by_kind[0][kind], by_kind[1][kind])
    with (out / "sheets" / "answers.csv").open(newline="") as file:
        assert [row["sheet"] for row in csv.DictReader(file)] == [row["sheet"] for row in key]


def test_a_seed_gives_the_same_sheets_again(run: Runner, several: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 4), ("b", 4), ("c", 5)):
        run(
            [several],
            blind,
            out=tmp_path / name,
            settings=ReportSettings(picture_px=400, seed=seed),
        )
    files = {
        name: {p.name: p.read_bytes() for p in (tmp_path / name).rglob("*") if p.is_file()}
        for name in ("a", "b", "c")
    }
    assert files["a"] == files["b"] != files["c"]
    with pytest.raises(UsageError, match="other sheets lie here"):
        run([several], blind, out=tmp_path / "a", overwrite=True)


def test_nothing_about_a_sheet_tells_masked_from_plain(
    run: Runner, several: Path, tmp_path: Path
) -> None:
    run([several], blind, settings=ReportSettings(picture_px=400, sheets="single"))
    out = tmp_path / "out"
    key = key_of(out)
    assert len(key) == 4 and {row["B"] for row in key} == {""}
    told: set[Any] = set()
    shown = {}
    for row in key:
        path = out / "sheets" / row["file"]
        with Image.open(path) as picture:
            told.add((picture.size, picture.mode, json.dumps(picture.info), path.stat().st_size))
            pixels = np.asarray(picture)
        chunks = re.findall(rb"(IHDR|tEXt|iTXt|zTXt|eXIf|tIME|pHYs)", path.read_bytes()[:200])
        assert chunks == [b"IHDR"]
        told.add(path.stat().st_mtime)
        shown[row["slide_id"], row["A"]] = pixels
    # One time of all files, and one size in pixels and bytes: both names show one slide.
    assert len(told) == 2
    masked, plain = shown["drawn", "masked"], shown["drawn", "plain"]
    differing = (masked != plain).any(axis=2)
    assert differing.any()
    # Colours lie on the same pixels: glass is hidden in both.
    header = int(0.12 * len(masked))
    grey = [np.ptp(one[header:].astype(int), axis=2) for one in (masked, plain)]
    assert ((grey[0] > 20) == (grey[1] > 20)).mean() > 0.97


def test_sheets_that_would_give_themselves_away_are_refused(
    run: Runner, slides: Path, model: Path
) -> None:
    with pytest.raises(UsageError, match="differ in size"):
        run([slides / "drawn.tiff"], blind, maps=HeatmapSettings(scale="raw"))
    with pytest.raises(UsageError, match="both kinds of attention"):
        run(
            [slides / "drawn.tiff"],
            blind,
            request=ModelRequest(model=str(model), attention="plain"),
        )
