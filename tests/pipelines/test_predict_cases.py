from __future__ import annotations

import csv
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import pyvips
import torch

from hvit_cli.errors import ManifestError, ModelError, UsageError
from hvit_cli.models.aggregator import Aggregator
from hvit_cli.models.checkpoints import read_state_dict
from hvit_cli.models.loading import load_aggregator_weights
from hvit_cli.pipelines.predict import cases_path, predict
from hvit_cli.settings import EmbeddingSettings, ReadingSettings, TissueSettings
from hvit_cli.steps.case import join_slides
from hvit_cli.steps.choose import ModelRequest
from hvit_cli.steps.grade import patch_bag
from hvit_cli.storage.features import read_features
from hvit_cli.storage.models import read_model
from hvit_cli.storage.work import WorkFolder


@pytest.fixture
def manifest(slides: Path) -> Path:
    """`drawn` and `turned` of one case, `bare` glass beside them, and `lone` without a case."""
    shutil.copy(slides / "drawn.tiff", slides / "lone.tiff")
    picture = pyvips.Image.new_from_file(str(slides / "drawn.tiff")).numpy()
    turned = np.ascontiguousarray(cv2.rotate(picture, cv2.ROTATE_180))
    turned[:500] = np.minimum(turned[:500].astype(int) + 25, 255).astype(np.uint8)
    pyvips.Image.new_from_array(turned).tiffsave(
        str(slides / "turned.tiff"), tile=True, xres=2000.0, yres=2000.0, resunit="cm"
    )
    path = slides / "cohort.csv"
    rows = "drawn,drawn.tiff,c1\nturned,turned.tiff,c1\nbare,bare.tiff,c1\nlone,lone.tiff,\n"
    path.write_text("slide_id,path,case_id\n" + rows, encoding="utf-8")
    return path


def run(sources: list[Path], work: Path, model: Path, **more: Any) -> dict[str, dict[str, str]]:
    list(
        predict(
            sources,
            work=WorkFolder(work),
            out=None,
            request=ModelRequest(model=str(model), attention="masked"),
            reading=ReadingSettings(),
            tissue=TissueSettings(),
            embedding=EmbeddingSettings(device="cpu", batch_size=16),
            **more,
        )
    )
    with cases_path(WorkFolder(work).predictions).open(newline="") as file:
        return {row["case_id"]: row for row in csv.DictReader(file)}


def test_a_case_is_its_worst_slide_or_one_bag(manifest: Path, model: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    worst = run([manifest], work, model, cases="max")
    with WorkFolder(work).predictions.open(newline="") as file:
        scores = {row["slide_id"]: row["score"] for row in csv.DictReader(file)}
    assert float(worst["c1"]["score"]) == max(float(scores["drawn"]), float(scores["turned"]))
    assert (worst["c1"]["slides"], worst["c1"]["graded"]) == ("3", "2")
    assert "1 of 3 slides have no grade" in worst["c1"]["note"]
    assert worst["lone"]["score"] == scores["lone"]
    together = run([manifest], work, model, cases="bag")
    # The bag built by hand: regions of both slides in one list.
    bags = []
    for name in ("drawn", "turned"):
        (path,) = (work / "features").glob(f"*/{name}.h5")
        features = read_features(path)
        bags.append(patch_bag(features, features.visible("masked")))
    both = type(bags[0])(
        features=torch.cat([bag.features for bag in bags]),
        region_index=torch.cat([bags[0].region_index, bags[1].region_index + bags[0].regions]),
        patch_index=torch.cat([bag.patch_index for bag in bags]),
        regions=bags[0].regions + bags[1].regions,
    )
    aggregator = Aggregator(read_model(model).aggregator).eval()
    load_aggregator_weights(aggregator, read_state_dict(model / "masked0.safetensors"))
    with torch.inference_mode():
        wanted = float(aggregator([both]).score[0, 0])
    assert float(together["c1"]["score"]) == pytest.approx(wanted, abs=2e-6)
    assert float(together["c1"]["score"]) not in {float(s) for s in scores.values() if s}
    assert together["lone"]["score"] == scores["lone"]


def test_features_take_their_cases_from_a_table(
    manifest: Path, model: Path, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    from_slides = run([manifest], work, model, cases="bag")
    (folder,) = (work / "features").iterdir()
    found = run([folder], tmp_path / "other", model, cases="bag", case_table=manifest)
    assert found["c1"]["score"] == from_slides["c1"]["score"]
    with pytest.raises(UsageError, match="no slide belongs to a case"):
        run([folder], tmp_path / "other", model, cases="bag")
    table = tmp_path / "wrong.csv"
    table.write_text("slide_id,patient\ndrawn,1\n", encoding="utf-8")
    with pytest.raises(ManifestError, match="wanted slide_id and case_id"):
        run([folder], tmp_path / "other", model, cases="bag", case_table=table)


def test_slides_embedded_differently_are_no_case(
    manifest: Path, model: Path, tmp_path: Path
) -> None:
    run([manifest], tmp_path / "work", model, cases="max")
    (path,) = (tmp_path / "work/features").glob("*/drawn.h5")
    features = read_features(path)
    with pytest.raises(ModelError, match=r"c1: slides of one case.*found encoder_hash"):
        join_slides("c1", [features, replace(features, encoder_hash="0")])


def test_tokens_of_a_case_are_those_of_its_slides(
    manifest: Path, model: Path, tmp_path: Path
) -> None:
    run([manifest], tmp_path, model, cases="max")
    (path,) = (tmp_path / "features").glob("*/drawn.h5")
    features = read_features(path)
    bits = np.arange(len(features.features), dtype=np.uint8)[:, None].repeat(8, axis=1)
    slide = replace(features, mask_level="both", token_px=16, token_bits=bits)
    joined = join_slides("c1", [slide, slide])
    np.testing.assert_array_equal(joined.token_bits, np.concatenate([bits, bits]))
    with pytest.raises(ModelError, match="mask_level, token_px"):
        join_slides("c1", [features, slide])
