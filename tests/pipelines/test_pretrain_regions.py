"""`hvit pretrain --level region`, from features to a training that starts from its result."""

from __future__ import annotations

import dataclasses
import runpy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from hvit_cli.errors import LabelError, UsageError
from hvit_cli.models.region_checkpoint import read_region_checkpoint
from hvit_cli.pipelines.pretrain import PretrainingRequest, prepare_regions, pretrain
from hvit_cli.pipelines.train import TrainingRequest, prepare, train
from hvit_cli.settings import (
    AggregatorSettings,
    CropSettings,
    PretrainingSettings,
    TrainingSettings,
)
from hvit_cli.storage.work import WorkFolder

FAST = PretrainingSettings(
    level="region",
    width=12,
    depth=2,
    heads=3,
    out_dim=32,
    head_hidden=16,
    head_bottleneck=8,
    epochs=2,
    warmup_epochs=1,
    batch=8,
    save_steps=2,
)


@pytest.fixture
def asked(tmp_path: Path) -> PretrainingRequest:
    """20 slides of 1-4 regions; 12 train in fold 0, 4 tune, 4 test."""
    made = runpy.run_path(str(Path(__file__).parents[1] / "training" / "cohort_on_disk.py"))
    labels = made["write_cohort"](tmp_path / "features", 20)
    parts = ["1,"] * 12 + ["0,"] * 4 + [",test"] * 4
    rows = [f"{i},{g},{part}" for (i, g), part in zip(labels.items(), parts, strict=True)]
    (tmp_path / "folds.csv").write_text("slide_id,label,fold,set\n" + "\n".join(rows) + "\n")
    labelled = [f"{i},{g}" for i, g in labels.items()]
    (tmp_path / "labels.csv").write_text("slide_id,label\n" + "\n".join(labelled) + "\n")
    return PretrainingRequest(
        sources=(tmp_path / "features",),
        work=WorkFolder(tmp_path / "work"),
        out=tmp_path / "region",
        folds=tmp_path / "folds.csv",
        fold=0,
        crops=CropSettings(local_crops=2),
        settings=FAST,
        device="cpu",
    )


class StoppedError(Exception):
    """Stands for a process that is killed."""


def test_a_run_stopped_at_any_step_ends_in_the_same_weights(
    asked: PretrainingRequest, tmp_path: Path
) -> None:
    whole = list(pretrain(prepare_regions(asked)))
    assert [record.epoch for record in whole] == [1, 2]
    other = dataclasses.replace(asked, out=tmp_path / "stopped")
    steps = prepare_regions(other).steps_per_epoch
    assert steps >= 4  # so that the state of the second step is of the middle of an epoch

    def stop(at: int) -> None:
        def watch(step: int) -> None:
            if step == at:
                raise StoppedError

        with pytest.raises(StoppedError):
            list(pretrain(prepare_regions(other), watch))

    stop(3)
    assert (tmp_path / "stopped/training_state.pt").is_file()
    again = list(pretrain(prepare_regions(other)))
    assert [r.loss for r in again] == [r.loss for r in whole]
    files = ("region.safetensors", "region.json", "recipe.json", "README.md")
    for file in files:
        assert (tmp_path / "stopped" / file).read_bytes() == (asked.folder / file).read_bytes()
    assert not (tmp_path / "stopped/training_state.pt").exists()
    # What is done is not done again.
    before = (asked.folder / "region.safetensors").stat().st_mtime_ns
    assert len(list(pretrain(prepare_regions(asked)))) == 2
    assert (asked.folder / "region.safetensors").stat().st_mtime_ns == before


def test_it_learns_from_the_training_slides_of_the_fold_and_train_starts_from_it(
    asked: PretrainingRequest, tmp_path: Path
) -> None:
    exclude = tmp_path / "exclude.csv"
    exclude.write_text("slide_id,reason\nslide005,pen\n")
    settings = dataclasses.replace(FAST, epochs=1, warmup_epochs=0)
    asked = dataclasses.replace(asked, settings=settings, exclude=exclude)
    list(pretrain(prepare_regions(asked)))
    found = read_region_checkpoint(asked.folder)
    assert found.slides == {f"slide{i:03d}" for i in range(12) if i != 5}
    training = TrainingRequest(
        features=tmp_path / "features",
        labels=tmp_path / "labels.csv",
        out=tmp_path / "model",
        settings=TrainingSettings(epochs=1, freeze="region"),
        sizes=AggregatorSettings(slide_dim=8, slide_depth=1, slide_heads=2),
        region_checkpoint=asked.folder,
        device="cpu",
    )
    with pytest.raises(LabelError, match="slides that trained the region Transformer"):
        prepare(training)  # a fifth of all slides tunes, some of which it has seen
    tune = tmp_path / "tune.csv"
    tune.write_text("slide_id,label\n" + "".join(f"slide{i:03d},{i % 6}\n" for i in range(12, 20)))
    list(train(prepare(dataclasses.replace(training, tune_table=tune))))
    model = load_file(tmp_path / "model/masked.safetensors")
    for name, tensor in found.weights.items():
        assert torch.equal(model[f"region_transformer.{name}"], tensor)


def test_what_cannot_be_is_said_before_anything_is_learned(asked: PretrainingRequest) -> None:
    with pytest.raises(UsageError, match="fewer regions than a batch holds"):
        large = dataclasses.replace(FAST, batch=4096)
        list(pretrain(prepare_regions(dataclasses.replace(asked, settings=large))))
    with pytest.raises(UsageError, match="one folder of features"):
        prepare_regions(dataclasses.replace(asked, sources=asked.sources * 2))
