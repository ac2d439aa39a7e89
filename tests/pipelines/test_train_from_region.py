"""Training that starts from a pretrained region Transformer."""

from __future__ import annotations

import argparse
import dataclasses
import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from hvit_cli.errors import CheckpointError, HvitError, LabelError, ModelError, UsageError
from hvit_cli.models.region import RegionTransformer
from hvit_cli.models.region_checkpoint import FeatureOrigin, describe_region
from hvit_cli.pipelines.train import (
    CrossValidationRequest,
    TrainingRequest,
    plan_cross_validation,
    prepare,
    train,
)
from hvit_cli.settings import AggregatorSettings, TrainingSettings
from hvit_cli.storage.models import read_model

SIZES = AggregatorSettings(
    patch_dim=8,
    region_px=1024,
    region_dim=12,
    region_depth=2,
    region_heads=3,
    registers=1,
    slide_dim=8,
    slide_depth=1,
    slide_heads=2,
)
ORIGIN = FeatureOrigin(
    encoder="made-up",
    weights_hash="0" * 64,
    normalisation='{"mean":[0,0,0],"std":[1,1,1]}',
    spacing_um=0.5,
)


@pytest.fixture(scope="session")
def cohort() -> SimpleNamespace:
    path = Path(__file__).parents[1] / "training" / "cohort_on_disk.py"
    return SimpleNamespace(**runpy.run_path(str(path)))


@pytest.fixture
def asked(tmp_path: Path, cohort: SimpleNamespace) -> TrainingRequest:
    """24 slides in two folds, 12 that test; no size of the region Transformer is asked for."""
    labels = cohort.write_cohort(tmp_path / "features", 36)
    (tmp_path / "labels.csv").write_text(
        "slide_id,label\n" + "".join(f"{i},{g}\n" for i, g in labels.items())
    )
    rows = [
        f"{i},{g},{n // 6 % 2}," if n < 24 else f"{i},{g},,own"
        for n, (i, g) in enumerate(labels.items())
    ]
    (tmp_path / "folds.csv").write_text("slide_id,label,fold,set\n" + "\n".join(rows) + "\n")
    return TrainingRequest(
        features=tmp_path / "features",
        labels=tmp_path / "labels.csv",
        out=tmp_path / "model",
        settings=TrainingSettings(epochs=1, batch_slides=8, learning_rate=1e-2),
        sizes=AggregatorSettings(slide_dim=8, slide_depth=1, slide_heads=2),
        device="cpu",
    )


def write_checkpoint(
    folder: Path,
    *,
    slides: tuple[str, ...] = (),
    origin: FeatureOrigin = ORIGIN,
    sizes: AggregatorSettings = SIZES,
    seed: int = 7,
) -> dict[str, torch.Tensor]:
    """Writes a region folder and returns its weights."""
    torch.manual_seed(seed)
    weights = RegionTransformer(sizes).state_dict()
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / "region.safetensors")
    (folder / "region.json").write_text(json.dumps(describe_region(sizes, origin, slides)))
    return weights


def from_region(request: TrainingRequest, path: Path, **changes: object) -> TrainingRequest:
    return dataclasses.replace(request, region_checkpoint=path, **changes)  # type: ignore[arg-type]


def region_of(model: Path) -> dict[str, torch.Tensor]:
    start = "region_transformer."
    weights = load_file(model / "masked.safetensors")
    return {k.removeprefix(start): v for k, v in weights.items() if k.startswith(start)}


def frozen(request: TrainingRequest) -> TrainingRequest:
    return dataclasses.replace(
        request, settings=dataclasses.replace(request.settings, freeze="region")
    )


def test_frozen_it_stays_byte_for_byte_and_else_training_goes_on_from_it(
    asked: TrainingRequest, tmp_path: Path
) -> None:
    slides = ("elsewhere1", "elsewhere2")
    weights = write_checkpoint(tmp_path / "region", slides=slides)
    kept = frozen(from_region(asked, tmp_path / "region"))
    list(train(prepare(kept)))
    found = region_of(kept.out)
    assert found.keys() == weights.keys()
    assert all(torch.equal(found[name], weights[name]) for name in weights)
    # Slow enough, one epoch leaves it close to where it began, which another seed is not.
    slow = dataclasses.replace(asked.settings, learning_rate=1e-6)
    moved = from_region(asked, tmp_path / "region", out=tmp_path / "moved", settings=slow)
    list(train(prepare(moved)))
    found = region_of(moved.out)
    assert any(not torch.equal(found[name], weights[name]) for name in weights)
    assert all(torch.allclose(found[name], weights[name], atol=1e-5) for name in weights)
    record = read_model(moved.out).training["masked"]
    assert record["region_checkpoint"]["pretraining_slides"] == list(slides)
    assert record["region_checkpoint"]["encoder"] == "made-up"
    sha256 = record["region_checkpoint"]["sha256"]
    assert record["recipe"]["inputs"]["region_checkpoint"] == sha256
    assert str(tmp_path) not in (moved.out / "model.json").read_text()


def test_other_weights_are_another_recipe(asked: TrainingRequest, tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "a", seed=1)
    write_checkpoint(tmp_path / "b", seed=2)
    list(train(prepare(from_region(asked, tmp_path / "a"))))
    assert prepare(from_region(asked, tmp_path / "a")).done is not None
    with pytest.raises(HvitError, match="region_checkpoint"):
        prepare(from_region(asked, tmp_path / "b"))


def test_the_checkpoint_decides_sizes_and_others_asked_for_are_refused(
    asked: TrainingRequest, tmp_path: Path
) -> None:
    write_checkpoint(tmp_path / "region")
    job = prepare(from_region(asked, tmp_path / "region", region_sizes={"region_dim": 12}))
    assert job.model.aggregator == SIZES
    with pytest.raises(
        UsageError,
        match=r"--region-dim, --region-heads: a size was asked for .* found 192, 6; wanted 12, 3",
    ):
        sizes = {"region_dim": 192, "region_heads": 6, "registers": 1}
        prepare(from_region(asked, tmp_path / "region", region_sizes=sizes))
    plain = prepare(dataclasses.replace(asked, region_sizes={"region_dim": 30}))
    assert plain.model.aggregator.region_dim == 30


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"encoder": "other", "weights_hash": "f" * 64},
            r"another patch encoder; found other \(f{12}\); wanted made-up \(0{12}\)",
        ),
        ({"normalisation": "{}"}, "another making; found normalisation {}; wanted normalisation"),
        ({"mask_level": "both"}, "found mask level both; wanted mask level region"),
        ({"spacing_um": 1.0}, r"found spacing in µm 1\.0; wanted spacing in µm 0\.5"),
    ],
)
def test_a_checkpoint_of_other_features_is_refused(
    asked: TrainingRequest, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    origin = dataclasses.replace(ORIGIN, **changes)  # type: ignore[arg-type]
    write_checkpoint(tmp_path / "region", origin=origin)
    with pytest.raises(ModelError, match=message):
        prepare(from_region(asked, tmp_path / "region"))


def test_a_snapshot_of_the_original_is_a_start_too(asked: TrainingRequest, tmp_path: Path) -> None:
    """Teacher and student under DINO's prefixes, the original's names, a head, a namespace."""
    sizes = dataclasses.replace(SIZES, registers=0, region_px=2048)
    torch.manual_seed(3)
    weights = RegionTransformer(sizes).state_dict()
    theirs = {
        "module.backbone." + name.replace("project.", "phi.0."): tensor
        for name, tensor in weights.items()
    }
    theirs["module.head.mlp.0.weight"] = torch.zeros(2, 2)
    student = {name: torch.zeros_like(tensor) for name, tensor in theirs.items()}
    path = tmp_path / "snapshot.pth"
    content = {"teacher": theirs, "student": student, "epoch": 3, "args": argparse.Namespace(a=1)}
    torch.save(content, path)
    start = frozen(from_region(asked, path, region_sizes={"region_heads": 3}))
    job = prepare(start)
    assert job.region is not None
    notes = " ".join(job.region.notes)
    assert "training head is not used" in notes
    assert "does not say which patch encoder" in notes
    assert "grid of 7×7, regions of 2048 px; they are resized to the 4×4" in notes
    list(train(job))
    found = region_of(asked.out)
    assert all(torch.equal(found[name], weights[name]) for name in weights)
    assert read_model(asked.out).aggregator.position_region_px == 2048
    wider = dataclasses.replace(sizes, patch_dim=9)
    torch.save(RegionTransformer(wider).state_dict(), path)
    with pytest.raises(ModelError, match="found width 9; wanted width 8"):
        prepare(start)
    del theirs["module.backbone.norm.bias"]
    torch.save({"teacher": theirs}, path)
    with pytest.raises(CheckpointError, match=r"1 missing: norm\.bias"):
        prepare(start)


def test_what_is_no_checkpoint_is_said(asked: TrainingRequest, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such region checkpoint"):
        prepare(from_region(asked, tmp_path / "nowhere"))
    with pytest.raises(ModelError, match="not a folder of a region Transformer"):
        prepare(from_region(asked, asked.features))
    folder = tmp_path / "region"
    write_checkpoint(folder)
    description = json.loads((folder / "region.json").read_text())
    for text, message in (
        ("{", "cannot be used"),
        ("[]", "cannot be used"),
        (json.dumps({**description, "schema": 2}), "found hvit-region version 2"),
        (json.dumps({**description, "pretraining_slides": [1]}), "no list of slide ids"),
        (
            json.dumps({**description, "region_dim": 15}),
            "found region_dim 12; wanted region_dim 15",
        ),
        (json.dumps({**description, "region_depth": 0}), "cannot be used"),
    ):
        (folder / "region.json").write_text(text)
        with pytest.raises(ModelError, match=message):
            prepare(from_region(asked, folder))


def test_slides_of_the_pretraining_must_not_choose_the_epoch(
    asked: TrainingRequest, tmp_path: Path
) -> None:
    write_checkpoint(tmp_path / "region", slides=tuple(f"slide{i:03d}" for i in range(36)))
    with pytest.raises(
        LabelError, match="slides that trained the region Transformer would choose the epoch"
    ):
        prepare(from_region(asked, tmp_path / "region"))


def test_a_checkpoint_per_fold_must_not_have_seen_what_judges_that_fold(
    asked: TrainingRequest, tmp_path: Path
) -> None:
    trains = {k: tuple(f"slide{i:03d}" for i in range(24) if i // 6 % 2 != k) for k in (0, 1)}
    for fold, slides in trains.items():
        write_checkpoint(tmp_path / f"region{fold}", slides=slides, seed=fold)
    own = from_region(asked, tmp_path / "region{fold}", folds=tmp_path / "folds.csv")
    plan = plan_cross_validation(CrossValidationRequest(training=own))
    assert [r.checkpoint.path.parent.name for r in plan.regions.values()] == ["region0", "region1"]
    one = CrossValidationRequest(training=from_region(own, tmp_path / "region0"))
    with pytest.raises(LabelError, match="would tune or test fold 1; found 12 slides"):
        plan_cross_validation(one)
    write_checkpoint(tmp_path / "region1", slides=("slide030",))
    with pytest.raises(LabelError, match=r"tune or test fold 1; found 1 slides \(slide030\)"):
        plan_cross_validation(CrossValidationRequest(training=own))
