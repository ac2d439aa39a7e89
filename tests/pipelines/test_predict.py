from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hvit_cli.engine.run import SlideRecord
from hvit_cli.errors import ModelError, UsageError
from hvit_cli.models.aggregator import Aggregator
from hvit_cli.models.checkpoints import read_state_dict
from hvit_cli.models.loading import load_aggregator_weights
from hvit_cli.pipelines.predict import predict
from hvit_cli.settings import EmbeddingSettings, ReadingSettings, TissueSettings
from hvit_cli.steps.choose import ModelRequest
from hvit_cli.steps.predictions_file import COLUMNS, Prediction
from hvit_cli.storage.features import read_features
from hvit_cli.storage.models import read_model
from hvit_cli.storage.work import WorkFolder


def run(
    sources: Sequence[Path], work: Path, model: Path | None, out: Path | None = None, **request: Any
) -> list[SlideRecord[Prediction]]:
    return list(
        predict(
            sources,
            work=WorkFolder(work),
            out=out,
            request=ModelRequest(model=None if model is None else str(model), **request),
            reading=ReadingSettings(),
            tissue=TissueSettings(),
            embedding=EmbeddingSettings(device="cpu", batch_size=16),
        )
    )


def rows(table: Path) -> list[dict[str, str]]:
    with table.open(newline="") as file:
        return list(csv.DictReader(file))


def features_of(work: Path) -> Path:
    (path,) = (work / "features").glob("*/drawn.h5")
    return path


def dense_score(work: Path, model: Path, member: str, *, masked: bool) -> float:
    """The score with every slot of every region a token: the model as the paper writes it."""
    features = read_features(features_of(work))
    assert features.patches == "all"
    shape = (features.n_regions, features.patches_per_region)
    dense = np.zeros((*shape, features.features.shape[1]), np.float32)
    dense[features.region_index, features.patch_index] = features.features
    visible = np.zeros(shape, bool)
    visible[features.region_index, features.patch_index] = features.tissue_fraction > 0
    aggregator = Aggregator(read_model(model).aggregator).eval()
    load_aggregator_weights(aggregator, read_state_dict(model / member))
    with torch.inference_mode():
        out = aggregator.forward_dense(
            torch.from_numpy(dense), torch.from_numpy(visible) if masked else None
        )
    return float(out.score[0, 0])


def test_a_slide_gets_a_score_a_grade_and_what_was_looked_at(
    slides: Path, model: Path, tmp_path: Path
) -> None:
    (record,) = run([slides / "drawn.tiff"], tmp_path / "work", model)
    prediction = record.product
    assert prediction is not None
    assert prediction.score is not None
    assert prediction.grade == min(max(round(prediction.score), 0), 5)
    assert prediction.attention == "masked"
    assert prediction.note == "drawn weights"
    # Two ellipses of half axes 480 and 120 px at 0.5 µm per pixel; half a mask pixel (4 µm)
    # around each adds 9 %.
    area_mm2 = 2 * np.pi * 480 * 120 * 0.5**2 / 1e6
    assert prediction.tissue_mm2 == pytest.approx(area_mm2, rel=0.2)
    (row,) = rows(tmp_path / "work" / "predictions.csv")
    assert tuple(row) == COLUMNS
    assert float(row["score"]) == pytest.approx(prediction.score, abs=1e-6)


def test_background_is_not_embedded_and_the_score_is_that_of_masking_all_patches(
    slides: Path, model: Path, tmp_path: Path
) -> None:
    (masked,) = run([slides / "drawn.tiff"], tmp_path / "sparse", model, attention="masked")
    sparse = read_features(features_of(tmp_path / "sparse"))
    assert sparse.patches == "tissue"
    assert (sparse.tissue_fraction > 0).all()
    run([slides / "drawn.tiff"], tmp_path / "full", model, attention="plain")
    full = read_features(features_of(tmp_path / "full"))
    assert len(full.features) == 64 * full.n_regions > len(sparse.features)
    expected = dense_score(tmp_path / "full", model, "masked0.safetensors", masked=True)
    assert masked.product is not None
    assert masked.product.score == pytest.approx(expected, abs=1e-4)


def test_plain_attention_sees_every_patch(slides: Path, model: Path, tmp_path: Path) -> None:
    (record,) = run([slides / "drawn.tiff"], tmp_path / "work", model, attention="plain")
    expected = dense_score(tmp_path / "work", model, "plain1.safetensors", masked=False)
    assert record.product is not None
    assert record.product.score == pytest.approx(expected, abs=1e-4)


def test_features_of_all_patches_serve_masked_requests_and_not_the_reverse(
    slides: Path, model: Path, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    run([slides / "drawn.tiff"], work, model, attention="masked")
    (again,) = run([slides / "drawn.tiff"], work, model, attention="masked")
    assert again.row.reason == "reused"
    (plain,) = run([slides / "drawn.tiff"], work, model, attention="plain")
    assert "only patches with tissue" in plain.row.reason
    (masked,) = run([slides / "drawn.tiff"], work, model, attention="masked")
    assert masked.row.reason == "reused"


def test_features_give_exactly_the_score_of_the_slide(
    slides: Path, model: Path, tmp_path: Path
) -> None:
    (from_slide,) = run([slides / "drawn.tiff"], tmp_path / "work", model)
    folder = features_of(tmp_path / "work").parent
    (from_features,) = run([folder], tmp_path / "other", model)
    assert from_slide.product is not None
    assert from_features.product is not None
    assert from_features.product.score == from_slide.product.score
    assert from_features.product.tissue_mm2 == from_slide.product.tissue_mm2


def test_a_slide_without_tissue_keeps_its_row_with_an_empty_grade(
    slides: Path, model: Path, tmp_path: Path
) -> None:
    records = run([slides], tmp_path / "work", model)
    assert [(r.row.slide_id, r.row.status) for r in records] == [
        ("bare", "no_tissue"),
        ("drawn", "done"),
    ]
    bare, drawn = rows(tmp_path / "work" / "predictions.csv")
    assert (bare["grade"], bare["score"], bare["status"]) == ("", "", "no_tissue")
    assert drawn["grade"] != ""
    assert (tmp_path / "work" / "qc" / "bare.jpg").stat().st_size > 0


def test_a_broken_slide_is_a_row_with_its_reason_and_the_others_are_graded(
    slides: Path, model: Path, tmp_path: Path
) -> None:
    (slides / "broken.svs").write_bytes(b"II*\0 not a slide")
    records = run([slides], tmp_path / "work", model)
    assert {r.row.slide_id: r.row.status for r in records} == {
        "bare": "no_tissue",
        "broken": "failed",
        "drawn": "done",
    }
    found = {row["slide_id"]: row for row in rows(tmp_path / "work" / "predictions.csv")}
    assert "broken.svs" in found["broken"]["reason"]
    assert found["broken"]["grade"] == ""


def test_the_table_keeps_rows_of_other_slides_models_and_attentions(
    slides: Path, model: Path, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    run([slides / "drawn.tiff"], work, model, attention="masked")
    run([slides / "bare.tiff"], work, model, attention="masked")
    run([slides / "drawn.tiff"], work, model, attention="plain")
    run([slides / "drawn.tiff"], work, model, attention="plain")
    keys = [(row["slide_id"], row["attention"]) for row in rows(work / "predictions.csv")]
    assert keys == [("bare", "masked"), ("drawn", "masked"), ("drawn", "plain")]


def test_a_file_that_is_no_table_of_predictions_is_not_overwritten(
    slides: Path, model: Path, tmp_path: Path
) -> None:
    (tmp_path / "notes.csv").write_text("my,notes\n1,2\n")
    with pytest.raises(UsageError, match=r"notes\.csv"):
        run([slides / "drawn.tiff"], tmp_path / "work", model, out=tmp_path / "notes.csv")
    assert (tmp_path / "notes.csv").read_text() == "my,notes\n1,2\n"


@pytest.mark.parametrize(
    ("field", "value", "option"),
    [
        ("region_px", 512, "--region"),
        ("patch_px", 32, "--patch"),
        ("spacing_um", 0.25, "--spacing"),
        ("spacing_tolerance", 0.2, "--spacing-tolerance"),
        ("encoder", "other", "--encoder"),
    ],
)
def test_an_option_that_contradicts_the_model_is_an_error(
    field: str, value: object, option: str, slides: Path, model: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=option):
        run([slides / "drawn.tiff"], tmp_path / "work", model, **{field: value})
    run([slides / "drawn.tiff"], tmp_path / "work", model, region_px=1024)


def test_features_of_another_encoder_are_refused(slides: Path, model: Path, tmp_path: Path) -> None:
    import dataclasses

    from hvit_cli.storage.features import write_features

    run([slides / "drawn.tiff"], tmp_path / "work", model)
    foreign = dataclasses.replace(
        read_features(features_of(tmp_path / "work")), encoder_hash="f" * 64
    )
    write_features(tmp_path / "drawn.h5", foreign)
    (record,) = run([tmp_path / "drawn.h5"], tmp_path / "other", model)
    assert record.row.status == "failed"
    assert "encoder weights" in record.row.reason


def test_slides_and_features_do_not_mix(slides: Path, model: Path, tmp_path: Path) -> None:
    run([slides / "drawn.tiff"], tmp_path / "work", model)
    with pytest.raises(UsageError, match="cannot be used in one run"):
        run([slides / "drawn.tiff", features_of(tmp_path / "work")], tmp_path / "work", model)


def test_a_model_folder_with_altered_weights_is_refused(
    slides: Path, model: Path, tmp_path: Path
) -> None:
    weights = model / "masked0.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ModelError, match=r"masked0\.safetensors"):
        run([slides / "drawn.tiff"], tmp_path / "work", model)
