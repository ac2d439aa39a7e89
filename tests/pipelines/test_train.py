from __future__ import annotations

import dataclasses
import json
import runpy
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from hvit_cli.errors import HvitError, LabelError, ModelError, RecipeError, UsageError
from hvit_cli.models.aggregator import Aggregator
from hvit_cli.models.loading import load_aggregator_weights
from hvit_cli.models.named_encoder import load_encoder
from hvit_cli.models.vit import VisionTransformer, VitShape
from hvit_cli.pipelines.train import TrainingRequest, prepare, train
from hvit_cli.settings import AggregatorSettings, TrainingSettings, as_recipe
from hvit_cli.storage.features import SlideFeatures, read_features
from hvit_cli.storage.models import read_model
from hvit_cli.training import run
from hvit_cli.training.bags import bag_of
from hvit_cli.training.epochs import read_metrics
from hvit_cli.training.metrics import grade_of, quadratic_kappa

QUICK = TrainingSettings(
    epochs=3, learning_rate=2e-3, batch_slides=8, tune_fraction=0.25, mean_label_bias=True
)
TINY = AggregatorSettings(
    region_dim=16, region_depth=1, region_heads=2, slide_dim=16, slide_depth=1, slide_heads=2
)


@pytest.fixture(scope="session")
def cohort() -> SimpleNamespace:
    """The made-up cohort of the tests of training."""
    path = Path(__file__).parents[1] / "training" / "cohort_on_disk.py"
    return SimpleNamespace(**runpy.run_path(str(path)))


@pytest.fixture
def request_(tmp_path: Path, cohort: SimpleNamespace) -> TrainingRequest:
    labels = cohort.write_cohort(tmp_path / "work/features/made-up-1234", 36)
    rows = "".join(f"{i},{grade},{n % 3}\n" for n, (i, grade) in enumerate(labels.items()))
    (tmp_path / "labels.csv").write_text("image_id,isup_grade,kfold\n" + rows)
    return TrainingRequest(
        features=tmp_path / "work",
        labels=tmp_path / "labels.csv",
        out=tmp_path / "work/models/toy",
        settings=QUICK,
        sizes=TINY,
        device="cpu",
    )


def changed(request: TrainingRequest, **settings: object) -> TrainingRequest:
    return dataclasses.replace(
        request,
        settings=dataclasses.replace(request.settings, **settings),  # type: ignore[arg-type]
    )


def bytes_of(request: TrainingRequest, name: str = "masked.safetensors") -> bytes:
    return (request.out / name).read_bytes()


def test_the_model_folder_grades_as_its_best_epoch_did(request_: TrainingRequest) -> None:
    job = prepare(request_)
    records = list(train(job))
    model = read_model(request_.out)
    (member,) = model.members
    best = max(records, key=lambda r: (r.tune_kappa, -r.tune_loss))
    assert member.metrics["epoch"] == best.epoch
    aggregator = Aggregator(model.aggregator)
    load_aggregator_weights(aggregator, load_file(request_.out / member.file))
    aggregator.eval()
    labels, scores = [], []
    for slide_id in model.training["masked"]["tune_slides"]:
        slide = read_features(job.paths[slide_id])
        with torch.no_grad():
            output = aggregator(
                [
                    dataclasses.replace(bag, features=bag.features.float())
                    for bag in [bag_of(slide, "masked")]
                ]
            )
        scores.append(output.score.item())
        labels.append(int(slide_id[-3:]) % 6)
    assert quadratic_kappa(labels, grade_of(scores)) == best.tune_kappa
    assert np.mean(np.square(np.subtract(scores, labels))) == pytest.approx(best.tune_loss)


def test_the_model_folder_says_how_it_was_made(request_: TrainingRequest) -> None:
    records = list(train(prepare(dataclasses.replace(request_, note="not for diagnosis"))))
    model = read_model(request_.out)
    assert model.name == "toy"
    assert model.note == "not for diagnosis"
    assert model.encoder.weights_hash == "0" * 64
    assert model.encoder.normalisation == '{"mean":[0,0,0],"std":[1,1,1]}'
    assert (model.tiling.region_px, model.tiling.patch_px, model.reading.spacing_um) == (
        1024,
        256,
        0.5,
    )
    assert model.aggregator.patch_dim == 8
    record = model.training["masked"]
    assert record["recipe"]["settings"]["training"]["learning_rate"] == 2e-3
    assert len(record["train_slides"]) == 27
    assert len(record["tune_slides"]) == 9
    assert not {*record["train_slides"]} & {*record["tune_slides"]}
    folder = request_.out / "training/masked"
    assert [r.epoch for r in read_metrics(folder / "metrics.csv")] == [1, 2, 3]
    assert [dataclasses.replace(r, seconds=0) for r in read_metrics(folder / "metrics.csv")] == [
        dataclasses.replace(r, seconds=0) for r in records
    ]
    assert sorted(p.name for p in request_.out.rglob("*") if p.is_file()) == [
        "curves.png",
        "masked.safetensors",
        "metrics.csv",
        "model.json",
    ]
    assert str(request_.features.resolve()) not in (request_.out / "model.json").read_text()


def test_grid_and_tolerance_come_from_the_recipe_of_the_features(
    tmp_path: Path, cohort: SimpleNamespace, request_: TrainingRequest
) -> None:
    settings = {
        "reading": {"spacing_um": 0.5, "spacing_tolerance": 0.11},
        "tiling": {"method": 1, "grid": "slide", "min_tissue_fraction": 0.25},
    }
    recipe = {"settings": settings, "inputs": {}}
    cohort.write_cohort(
        tmp_path / "other", 36, lambda i, g: cohort.slide_features(i, g, recipe=recipe)
    )
    list(train(prepare(dataclasses.replace(request_, features=tmp_path / "other"))))
    model = read_model(request_.out)
    assert (model.tiling.grid, model.tiling.min_tissue_fraction) == ("slide", 0.25)
    assert model.reading.spacing_tolerance == 0.11


def test_the_same_command_gives_the_same_file_bit_for_bit(
    tmp_path: Path, request_: TrainingRequest
) -> None:
    list(train(prepare(request_)))
    again = dataclasses.replace(request_, out=tmp_path / "again/toy")
    list(train(prepare(again)))
    assert bytes_of(again) == bytes_of(request_)
    assert (again.out / "model.json").read_bytes() == (request_.out / "model.json").read_bytes()


@pytest.mark.parametrize("stop", ["between epochs", "within an epoch", "before the model"])
def test_a_run_that_was_killed_goes_on_to_the_same_weights(
    tmp_path: Path, request_: TrainingRequest, stop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = dataclasses.replace(request_, out=tmp_path / "whole/toy")
    wanted = list(train(prepare(whole)))

    class KilledError(Exception):
        pass

    def kill(*_: object, **__: object) -> None:
        raise KilledError

    if stop == "between epochs":
        running = train(prepare(request_))
        next(running)
        running.close()  # type: ignore[attr-defined]
    elif stop == "within an epoch":
        seen: list[int] = []

        def watch(slides: int) -> None:
            seen.append(slides)
            if len(seen) == 6:
                kill()

        with pytest.raises(KilledError):
            list(train(prepare(request_), watch))
    else:
        monkeypatch.setattr(run.members, "add_member", kill)
        with pytest.raises(KilledError):
            list(train(prepare(request_)))
        monkeypatch.undo()
    assert not (request_.out / "model.json").exists()
    found = list(train(prepare(request_)))
    assert bytes_of(request_) == bytes_of(whole)
    assert [dataclasses.replace(r, seconds=0) for r in found] == [
        dataclasses.replace(r, seconds=0) for r in wanted
    ]


def test_a_run_that_is_done_is_not_repeated(request_: TrainingRequest) -> None:
    first = list(train(prepare(request_)))
    stamp = (request_.out / "masked.safetensors").stat().st_mtime_ns
    again = list(train(prepare(request_)))
    assert [r.epoch for r in again] == [r.epoch for r in first]
    assert (request_.out / "masked.safetensors").stat().st_mtime_ns == stamp


def test_other_settings_are_refused_and_named_or_overwrite(request_: TrainingRequest) -> None:
    list(train(prepare(request_)))
    before = bytes_of(request_)
    other = changed(request_, learning_rate=1e-3)
    with pytest.raises(RecipeError, match=r"learning_rate: 0.002 → 0.001.*--overwrite"):
        prepare(other)
    list(train(prepare(dataclasses.replace(other, overwrite=True))))
    assert bytes_of(request_) != before


def test_an_unfinished_run_of_other_settings_is_refused_or_overwritten(
    request_: TrainingRequest,
) -> None:
    running = train(prepare(request_))
    next(running)
    running.close()  # type: ignore[attr-defined]
    other = changed(request_, seed=7)
    with pytest.raises(RecipeError, match="seed: 0 → 7"):
        list(train(prepare(other)))
    assert len(list(train(prepare(dataclasses.replace(other, overwrite=True))))) == 3


def test_masked_and_plain_share_one_model_folder(request_: TrainingRequest) -> None:
    list(train(prepare(request_)))
    masked = bytes_of(request_)
    list(train(prepare(changed(request_, attention="plain"))))
    model = read_model(request_.out)
    assert model.attentions == ("masked", "plain")
    assert bytes_of(request_) == masked
    assert model.training.keys() == {"masked", "plain"}
    assert model.training["masked"]["train_slides"] == model.training["plain"]["train_slides"]


def test_a_folder_of_another_model_is_not_joined(
    tmp_path: Path, cohort: SimpleNamespace, request_: TrainingRequest
) -> None:
    list(train(prepare(request_)))
    cohort.write_cohort(
        tmp_path / "other", 36, lambda i, g: cohort.slide_features(i, g, encoder_hash="f" * 64)
    )
    other = dataclasses.replace(changed(request_, attention="plain"), features=tmp_path / "other")
    with pytest.raises(RecipeError, match=r"encoder.weights: 0000.* → ffff"):
        prepare(other)
    list(train(prepare(dataclasses.replace(other, overwrite=True))))
    assert read_model(request_.out).attentions == ("plain",)


def test_a_fold_of_a_column_and_a_table_of_tuning_slides(
    tmp_path: Path, request_: TrainingRequest
) -> None:
    job = prepare(dataclasses.replace(request_, fold_column="kfold", fold="2"))
    assert list(job.fold.tune) == [f"slide{i:03d}" for i in range(2, 36, 3)]
    list(train(job))
    assert read_model(request_.out).members[0].fold == 2
    (tmp_path / "tune.csv").write_text("image_id\nslide004\nslide011\n")
    job = prepare(dataclasses.replace(request_, tune_table=tmp_path / "tune.csv", overwrite=True))
    assert job.fold.tune == {"slide004": 4, "slide011": 5}
    with pytest.raises(UsageError, match="belong together"):
        dataclasses.replace(request_, fold_column="kfold")
    with pytest.raises(UsageError, match="one of them is enough"):
        dataclasses.replace(
            request_, fold_column="kfold", fold="2", tune_table=tmp_path / "tune.csv"
        )


def test_labels_without_features_and_the_reverse(request_: TrainingRequest) -> None:
    text = request_.labels.read_text().replace("slide003,", "elsewhere,")
    request_.labels.write_text(text + "badly,9,0\n")
    with pytest.raises(LabelError) as caught:
        prepare(dataclasses.replace(request_))
    message = str(caught.value)
    assert "1 unknown grades" in message
    assert "2 labelled slides without features (elsewhere, badly" in message
    assert "1 feature files without a row in the table (slide003" in message
    request_.labels.write_text(text)
    allowed = dataclasses.replace(request_, allow_missing=True, allow_unlabelled=True)
    job = prepare(allowed)
    assert job.left_out == {"without features": ["elsewhere"], "without a label": ["slide003"]}
    assert len(job.fold.train) + len(job.fold.tune) == 35


def test_tissue_features_cannot_train_plain_attention(
    tmp_path: Path, cohort: SimpleNamespace, request_: TrainingRequest
) -> None:
    cohort.write_cohort(
        tmp_path / "tissue", 36, lambda i, g: cohort.slide_features(i, g, patches="tissue")
    )
    sparse = dataclasses.replace(request_, features=tmp_path / "tissue")
    with pytest.raises(ModelError, match=r"36 files of tissue patches.*hvit embed --plain"):
        prepare(changed(sparse, attention="plain"))
    list(train(prepare(sparse)))
    whole = dataclasses.replace(request_, out=tmp_path / "whole/toy")
    list(train(prepare(whole)))
    assert bytes_of(sparse) == bytes_of(whole)


def test_a_model_keeps_what_was_masked_in_its_features(
    tmp_path: Path, cohort: SimpleNamespace, request_: TrainingRequest
) -> None:
    def without_glass(slide_id: str, grade: int) -> SlideFeatures:
        slide: SlideFeatures = cohort.slide_features(slide_id, grade, patches="tissue")
        bits = np.full((len(slide.features), 1), 128, np.uint8)
        return dataclasses.replace(
            slide, mask_level="both", token_px=slide.patch_px, token_bits=bits
        )

    list(train(prepare(request_)))
    assert "mask_level" not in json.loads((request_.out / "model.json").read_text())
    cohort.write_cohort(tmp_path / "both", 36, without_glass)
    asked = dataclasses.replace(request_, features=tmp_path / "both")
    with pytest.raises(RecipeError, match=r"mask_level"):
        prepare(asked)
    asked = dataclasses.replace(asked, out=tmp_path / "both-model/toy")
    list(train(prepare(asked)))
    assert read_model(asked.out).mask_level == "both"
    list(train(prepare(asked)))  # the same again is not repeated


def test_slides_without_any_region_are_named(
    cohort: SimpleNamespace, request_: TrainingRequest
) -> None:
    from hvit_cli.storage.features import write_features

    folder = request_.features / "features/made-up-1234"
    slide = cohort.slide_features("slide007", 1)
    empty = {
        name: getattr(slide, name)[:0]
        for name in (
            "features",
            "coords",
            "region_index",
            "patch_index",
            "tissue_fraction",
            "region_xy_level0",
            "region_tissue_fraction",
        )
    }
    write_features(folder / "slide007.h5", dataclasses.replace(slide, **empty))
    with pytest.raises(
        LabelError, match=r"1 slides without any region \(slide007.*--allow-missing"
    ):
        prepare(request_)
    job = prepare(dataclasses.replace(request_, allow_missing=True))
    assert job.left_out == {"without a region": ["slide007"]}


def test_a_damaged_feature_file_stops_training_by_name(request_: TrainingRequest) -> None:
    job = prepare(request_)
    path = next(iter(job.paths.values()))
    content = bytearray(path.read_bytes())
    content[content.index(read_features(path).features.tobytes())] ^= 1
    path.write_bytes(content)
    with pytest.raises(HvitError, match=path.name):
        list(train(job))


def test_the_description_is_json_that_anyone_can_read(request_: TrainingRequest) -> None:
    list(train(prepare(request_)))
    description = json.loads((request_.out / "model.json").read_text())
    assert description["members"][0]["metrics"]["tune_slides"] == 9


def test_a_model_folder_holds_its_encoder_and_keeps_it_when_a_member_joins(
    tmp_path: Path, cohort: SimpleNamespace, request_: TrainingRequest
) -> None:
    network = VisionTransformer(VitShape(width=64, depth=1, heads=1, grid_side=2))
    save_file(network.state_dict(), tmp_path / "mine.safetensors")
    weights_hash = load_encoder(tmp_path / "mine.safetensors").weights_hash
    cohort.write_cohort(
        tmp_path / "own", 36, lambda i, g: cohort.slide_features(i, g, encoder_hash=weights_hash)
    )
    own = dataclasses.replace(
        request_, features=tmp_path / "own", encoder=str(tmp_path / "mine.safetensors")
    )
    list(train(prepare(own)))
    (tmp_path / "mine.safetensors").unlink()
    list(train(prepare(dataclasses.replace(changed(own, attention="plain"), encoder=None))))
    model = read_model(request_.out)
    assert (model.attentions, model.encoder.file) == (("masked", "plain"), "encoder.safetensors")
    copied = load_encoder(
        request_.out / model.encoder.file, architecture=model.encoder.architecture
    )
    assert copied.weights_hash == weights_hash
    # A model folder is itself a place where its encoder is found.
    third = dataclasses.replace(own, out=tmp_path / "third", encoder=str(request_.out))
    list(train(prepare(third)))
    assert bytes_of(third, "encoder.safetensors") == bytes_of(request_, "encoder.safetensors")


_KILLED_AT_ONCE = """
import os, signal, sys
from pathlib import Path
from hvit_cli.pipelines.train import TrainingRequest, prepare, train
from hvit_cli.settings import AggregatorSettings, TrainingSettings, from_recipe
import json

asked = json.loads(sys.argv[1])
request = TrainingRequest(
    features=Path(asked["features"]), labels=Path(asked["labels"]), out=Path(asked["out"]),
    settings=from_recipe(TrainingSettings, asked["settings"]),
    sizes=from_recipe(AggregatorSettings, asked["sizes"]), device="cpu",
)
seen = []
def watch(slides):
    seen.append(slides)
    if len(seen) == 6:
        os.kill(os.getpid(), signal.SIGKILL)
list(train(prepare(request), watch))
"""


@pytest.mark.slow
def test_a_process_that_was_killed_leaves_a_run_that_goes_on(
    tmp_path: Path, request_: TrainingRequest
) -> None:
    asked = {
        "features": str(request_.features),
        "labels": str(request_.labels),
        "out": str(request_.out),
        "settings": as_recipe(request_.settings),
        "sizes": as_recipe(request_.sizes),
    }
    command = [sys.executable, "-c", _KILLED_AT_ONCE, json.dumps(asked)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert (request_.out / "training/masked/training_state.pt").is_file()
    list(train(prepare(request_)))
    whole = dataclasses.replace(request_, out=tmp_path / "whole/toy")
    list(train(prepare(whole)))
    assert bytes_of(request_) == bytes_of(whole)
