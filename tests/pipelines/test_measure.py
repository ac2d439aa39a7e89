"""`hvit measure`, from slides and from features, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import pyvips

from hvit_cli.errors import UsageError
from hvit_cli.measures.records import MapMeasures
from hvit_cli.pipelines.measure import MeasureRequest, measure, truth_source, write_measures
from hvit_cli.settings import (
    EmbeddingSettings,
    LabelScheme,
    MeasureSettings,
    ReadingSettings,
    TissueSettings,
)
from hvit_cli.steps.measure import MapMeasurer
from hvit_cli.storage.features import read_features
from hvit_cli.storage.tables import read_table
from hvit_cli.storage.work import WorkFolder

SCHEME = LabelScheme(tumour_values=(3,), other_values=(1,))
SETTINGS = MeasureSettings(steps=2, draws=50, maps=("attention", "contribution"))


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    """Pathology masks of the drawn slide: the left half of each core is tumour."""
    folder = tmp_path / "truth"
    folder.mkdir()
    rows, columns = np.mgrid[:1200, :1800]
    labels = np.zeros((1200, 1800), np.uint8)
    for x, y in ((600, 350), (1150, 850)):
        core = ((columns - x) / 490) ** 2 + ((rows - y) / 150) ** 2 < 1
        labels[core] = np.where(columns[core] < x, 3, 1)
    pyvips.Image.new_from_array(labels[::2, ::2]).tiffsave(str(folder / "drawn_mask.tiff"))
    return folder


def run(
    sources: list[Path],
    tmp_path: Path,
    model: Path,
    truth: Path | None,
    settings: MeasureSettings = SETTINGS,
    out: Path | None = None,
) -> tuple[list[MapMeasures], list[str]]:
    records = list(
        measure(
            sources,
            work=WorkFolder(tmp_path / "work"),
            request=MeasureRequest(
                models=(str(model),),
                truth=truth_source(truth, "{slide_id}_mask.tiff", SCHEME if truth else None),
                settings=settings,
            ),
            reading=ReadingSettings(),
            tissue=TissueSettings(),
            embedding=EmbeddingSettings(device="cpu", attention="plain"),
            out=out,
        )
    )
    return (
        [row for record in records for row in record.product or []],
        [record.row.reason for record in records if record.row.status == "failed"],
    )


def test_every_row_of_a_slide_is_measured_and_features_give_the_same(
    slides: Path, model: Path, truth: Path, tmp_path: Path
) -> None:
    settings = MeasureSettings(
        steps=2, draws=50, maps=("attention", "contribution"), stability_slides=1
    )
    rows, failed = run([slides / "drawn.tiff"], tmp_path, model, truth, settings)
    assert not failed
    names = {(r.row.trained, r.row.run, r.row.glass, r.row.weights, r.row.map) for r in rows}
    assert len(names) == len(rows)
    # Four sights with two maps, twice where glass can be hidden; fresh weights and four floors
    # for the two that run as trained.
    assert len(rows) == (2 + 4) * 2 + 2 * (2 + 4)
    for row in rows:
        if row.row.run == "masked" or row.row.glass == "hidden":
            assert row.background_mass == 0
            assert row.patches == row.tissue_patches
        assert row.positives > 0
        assert row.negatives > 0
        trained = row.row.weights == "trained" and row.row.map in ("attention", "contribution")
        assert (row.grid_shift is not None) == trained
        assert (row.stain is not None) == trained
    uniform = next(r for r in rows if r.row.map == "uniform" and r.row.run == "plain")
    assert uniform.auroc == 0.5
    assert uniform.background_mass == pytest.approx(1)

    grids = {
        "shift_patches" in read_features(file).recipe["settings"]["tiling"]: file
        for file in (tmp_path / "work" / "features").glob("*/drawn.h5")
    }
    features = grids[False]
    again, _ = run([features], tmp_path, model, truth)
    first = {r.row: r.auroc for r in rows}
    assert {r.row: r.auroc for r in again} == {
        row: value for row, value in first.items() if row.map != "haematoxylin"
    }

    summary = write_measures(tmp_path / "out", rows, settings)
    columns, lines = read_table(tmp_path / "out" / "maps.csv")
    assert len(lines) == len(rows)
    assert {"slide_id", "run", "gain", "stain"} <= set(columns)
    _, lines = read_table(tmp_path / "out" / "summary.csv")
    assert len(lines) == 8 * len(summary)
    assert "| model: plain, glass hidden: attention |" in (tmp_path / "out/summary.md").read_text()


def test_a_slide_without_a_mask_fails_by_name(
    slides: Path, model: Path, truth: Path, tmp_path: Path
) -> None:
    (truth / "drawn_mask.tiff").unlink()
    rows, failed = run([slides / "drawn.tiff"], tmp_path, model, truth)
    assert not rows
    assert "no pathology mask" in failed[0]


def test_a_mask_of_another_shape_is_refused(
    slides: Path, model: Path, truth: Path, tmp_path: Path
) -> None:
    pyvips.Image.new_from_array(np.ones((50, 50), np.uint8)).tiffsave(
        str(truth / "drawn_mask.tiff")
    )
    _, failed = run([slides / "drawn.tiff"], tmp_path, model, truth)
    assert "another shape" in failed[0]


def test_a_slide_of_bare_glass_has_no_rows(slides: Path, model: Path, tmp_path: Path) -> None:
    rows, failed = run([slides / "bare.tiff"], tmp_path, model, None)
    assert (rows, failed) == ([], [])


def test_stability_needs_slides(tmp_path: Path, model: Path) -> None:
    (tmp_path / "a.h5").touch()
    with pytest.raises(UsageError, match="slides themselves"):
        run([tmp_path / "a.h5"], tmp_path, model, None, MeasureSettings(stability_slides=1))


@pytest.mark.parametrize(
    ("folder", "pattern", "scheme", "said"),
    [
        (Path("masks"), "{slide_id}.tiff", None, "what do the values"),
        (None, "{slide_id}.tiff", SCHEME, "which masks"),
        (Path("masks"), "mask.tiff", SCHEME, "no place"),
    ],
)
def test_half_a_truth_is_refused(
    folder: Path | None, pattern: str, scheme: LabelScheme | None, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        truth_source(folder, pattern, scheme)


def test_a_run_goes_on_where_it_stopped_and_other_settings_are_measured_anew(
    slides: Path, model: Path, truth: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    first, _ = run([slides / "drawn.tiff"], tmp_path, model, truth, out=out)
    with monkeypatch.context() as patch:
        patch.setattr(MapMeasurer, "measure", None)
        again, failed = run([slides / "drawn.tiff"], tmp_path, model, truth, out=out)
    assert (again, failed) == (first, [])
    other = MeasureSettings(steps=0, draws=50, maps=("attention",))
    rows, _ = run([slides / "drawn.tiff"], tmp_path, model, truth, other, out=out)
    assert {row.gain for row in rows} == {None}
    (out / "slides" / "drawn.json").write_text("{")
    assert run([slides / "drawn.tiff"], tmp_path, model, truth, out=out)[0] == first
