from __future__ import annotations

import dataclasses
import json
import os
import re
import runpy
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.torch import load_file
from sklearn.metrics import cohen_kappa_score

from hvit_cli.errors import LabelError, UsageError
from hvit_cli.pipelines.train import (
    CrossValidationRequest,
    TrainingRequest,
    forecast_cross_validation,
    plan_cross_validation,
)
from hvit_cli.settings import AggregatorSettings, TaskSettings, TrainingSettings
from hvit_cli.storage.models import read_model
from hvit_cli.storage.tables import read_table
from hvit_cli.training.results import Results

TINY = AggregatorSettings(
    region_dim=16, region_depth=1, region_heads=2, slide_dim=16, slide_depth=1, slide_heads=2
)
QUICK = TrainingSettings(epochs=2, learning_rate=3e-3, batch_slides=8, mean_label_bias=True)


@pytest.fixture(scope="session")
def cohort() -> SimpleNamespace:
    """The made-up cohort of the tests of training."""
    path = Path(__file__).parents[1] / "training" / "cohort_on_disk.py"
    return SimpleNamespace(**runpy.run_path(str(path)))


@pytest.fixture
def asked(tmp_path: Path, cohort: SimpleNamespace) -> CrossValidationRequest:
    """36 slides in three folds, 24 in two test sets."""
    labels = cohort.write_cohort(tmp_path / "work/features/made-up-1", 60)
    rows = [
        f"{i},{grade},{(n // 6) % 3}," if n < 36 else f"{i},{grade},,{'public' if n % 2 else 'own'}"
        for n, (i, grade) in enumerate(labels.items())
    ]
    (tmp_path / "folds.csv").write_text("slide_id,label,fold,set\n" + "\n".join(rows) + "\n")
    (tmp_path / "labels.csv").write_text(
        "slide_id,label\n" + "".join(f"{i},{g}\n" for i, g in labels.items())
    )
    return CrossValidationRequest(
        training=TrainingRequest(
            features=tmp_path / "work",
            labels=tmp_path / "labels.csv",
            folds=tmp_path / "folds.csv",
            out=tmp_path / "cv",
            settings=QUICK,
            sizes=TINY,
            device="cpu",
        ),
        attentions=("masked", "plain"),
        folds=(0, 2),
        seeds=2,
    )


def changed(asked: CrossValidationRequest, **changes: object) -> CrossValidationRequest:
    training = dataclasses.replace(asked.training, **changes)  # type: ignore[arg-type]
    return dataclasses.replace(asked, training=training)


def run(asked: CrossValidationRequest) -> Results:
    plan = plan_cross_validation(asked)
    assert [e.record.epoch for e in plan.run()] == [1, 2] * len(plan.members)
    return plan.finish()


def test_a_forecast_knows_every_member_and_writes_nothing(
    tmp_path: Path, asked: CrossValidationRequest
) -> None:
    told = forecast_cross_validation(plan_cross_validation(asked))
    assert not (tmp_path / "cv").exists()
    assert len({member.name for member in told.members}) == len(told.members) == 2 * 2 * 2
    assert told.test == 24
    for member in told.members:
        assert (sum(member.train.values()), sum(member.tune.values())) == (24, 12)
        # Slides take the six grades in turn, and folds hold six of them at a time.
        assert set(member.train.values()) == {4}
        assert set(member.tune.values()) == {2}
    assert told.steps == 2 * 8 * 24


def test_every_fold_attention_and_seed_and_the_table_they_come_to(
    tmp_path: Path, asked: CrossValidationRequest
) -> None:
    results = run(asked)
    out = tmp_path / "cv"
    model = read_model(out)
    assert {(m.attention, m.fold, m.seed) for m in model.members} == {
        (a, f, s) for a in ("masked", "plain") for f in (0, 2) for s in (0, 1)
    }
    for fold in (0, 2):
        named = [
            model.training[f"{a}-fold{fold}-seed{s}"] for a in ("masked", "plain") for s in (0, 1)
        ]
        assert all(n["tune_slides"] == named[0]["tune_slides"] for n in named)
        assert not {*named[0]["tune_slides"]} & {*named[0]["train_slides"]}
        assert not any(
            int(i[-3:]) >= 36 for i in named[0]["train_slides"] + named[0]["tune_slides"]
        )
    labels = {f"slide{i:03d}": i % 6 for i in range(60)}
    rows = read_table(out / "predictions/plain.csv")[1]
    assert len(rows) == 4 * 24
    assert list(rows[0])[:3] == ["slide_id", "grade", "score"]
    # Table 1 again, from the predictions alone.
    for name in ("own", "public", "combined"):
        by_fold = []
        for fold in ("0", "2"):
            kappas = []
            for seed in ("0", "1"):
                given = [
                    r for r in rows
                    if (r["fold"], r["seed"]) == (fold, seed) and name in (r["set"], "combined")
                ]  # fmt: skip
                kappas.append(
                    cohen_kappa_score(
                        [labels[r["slide_id"]] for r in given],
                        [int(np.clip(np.rint(float(r["score"])), 0, 5)) for r in given],
                        labels=range(6),
                        weights="quadratic",
                    )
                )
            by_fold.append(np.mean(kappas))
        (cell,) = [c for c in results.table if (c.attention, c.set) == ("plain", name)]
        assert cell.mean == pytest.approx(np.mean(by_fold))
        assert cell.sd == pytest.approx(np.std(by_fold, ddof=1))
        assert cell.ensemble_low is not None
        assert cell.ensemble is not None
        assert cell.ensemble_high is not None
        assert cell.ensemble_low <= cell.ensemble <= cell.ensemble_high
    page = (out / "results.md").read_text()
    assert "| attention | tune\\* | own | public | combined |" in page
    assert re.search(r"\| masked \| -?\d\.\d{3} ± \d\.\d{3} \|", page)
    assert "chose the epoch" in page
    assert json.loads((out / "results.json").read_text())["measure"] == "kappa"
    heading, lines = read_table(out / "results.csv")
    assert heading[0] == "statistic"
    assert len([r for r in lines if r["statistic"] == "member"]) == 8 * 4


def test_the_ensemble_is_the_mean_score_rounded_once(
    tmp_path: Path, asked: CrossValidationRequest
) -> None:
    run(asked)
    members = read_table(tmp_path / "cv/predictions/masked.csv")[1]
    for row in read_table(tmp_path / "cv/predictions/masked-ensemble.csv")[1]:
        scores = [float(m["score"]) for m in members if m["slide_id"] == row["slide_id"]]
        assert len(scores) == int(row["members"]) == 4
        assert float(row["score"]) == pytest.approx(np.mean(scores))
        assert int(row["grade"]) == int(np.clip(np.rint(np.mean(scores)), 0, 5))


def test_a_stopped_run_goes_on_and_ends_with_the_same_bytes(
    tmp_path: Path, asked: CrossValidationRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = dataclasses.replace(asked, seeds=1)
    whole = changed(asked, out=tmp_path / "whole")
    run(whole)
    running: Iterator[object] = plan_cross_validation(asked).run()
    for _ in range(5):  # two members whole, the third after its first epoch
        next(running)
    running.close()  # type: ignore[attr-defined]
    done = tmp_path / "cv/masked-fold0-seed0.safetensors"
    stamp = done.stat().st_mtime_ns
    assert (tmp_path / "cv/training/masked-fold2-seed0/training_state.pt").is_file()
    run(asked)
    assert done.stat().st_mtime_ns == stamp
    for file in (tmp_path / "whole").glob("**/*"):
        if file.suffix in (".safetensors", ".md") or file.parent.name == "predictions":
            assert (tmp_path / "cv" / file.relative_to(tmp_path / "whole")).read_bytes() == (
                file.read_bytes()
            ), file


def test_slides_of_the_encoders_own_training_neither_tune_nor_test(
    tmp_path: Path, asked: CrossValidationRequest
) -> None:
    record = tmp_path / "work/features/made-up-1/encoder.json"
    # Slides 6-11 and 24-29 tune in fold 1: an encoder of fold 0 has seen them.
    record.write_text(json.dumps({"pretraining_slides": ["slide007", "slide025"]}))
    plan_cross_validation(dataclasses.replace(asked, folds=(0,)))
    with pytest.raises(LabelError, match=r"tune or test fold 1; found 2 slides \(slide007, slide"):
        plan_cross_validation(dataclasses.replace(asked, folds=(0, 1)))
    record.write_text(json.dumps({"pretraining_slides": ["slide050"]}))
    with pytest.raises(LabelError, match=r"tune or test fold 0; found 1 slides \(slide050\)"):
        plan_cross_validation(dataclasses.replace(asked, folds=(0,)))


def test_features_of_an_encoder_per_fold(
    tmp_path: Path, cohort: SimpleNamespace, asked: CrossValidationRequest
) -> None:
    for fold in (0, 2):
        cohort.write_cohort(
            tmp_path / f"own/enc-fold{fold}-{fold}abc",
            60,
            lambda i, g, fold=fold: cohort.slide_features(i, g, encoder_hash=str(fold) * 64),
        )
    own = changed(
        dataclasses.replace(asked, attentions=("masked",), seeds=1),
        features=tmp_path / "own/enc-fold{fold}-*",
    )
    results = run(own)
    for fold in (0, 2):
        model = read_model(tmp_path / f"cv/fold{fold}")
        assert model.encoder.weights_hash == str(fold) * 64
        assert [m.fold for m in model.members] == [fold]
    assert results.table[0].by_fold.keys() == {0, 2}
    assert (tmp_path / "cv/results.md").is_file()
    with pytest.raises(UsageError, match="one folder of features is wanted for a fold"):
        plan_cross_validation(dataclasses.replace(own, folds=(1,)))


def test_problems_are_found_before_anything_is_trained(
    tmp_path: Path, asked: CrossValidationRequest
) -> None:
    with pytest.raises(LabelError, match="no such fold"):
        plan_cross_validation(dataclasses.replace(asked, folds=(0, 7)))
    with pytest.raises(UsageError, match="named once"):
        dataclasses.replace(asked, attentions=("plain", "plain"))
    text = asked.training.labels.read_text()
    asked.training.labels.write_text(text.replace("slide003,3", "slide003,4"))
    with pytest.raises(LabelError, match=r"differ from folds.csv \(slide003 has 4, was 3"):
        plan_cross_validation(asked)
    asked.training.labels.write_text(text)
    folds = tmp_path / "folds.csv"
    folds.write_text(re.sub(r"(slide0[012]\d),\d,", r"\1,2,", folds.read_text()))
    asked.training.labels.write_text(re.sub(r"(slide0[012]\d),\d", r"\1,2", text))
    with pytest.raises(LabelError, match="all training slides have one label"):
        only = re.sub(r"(slide03[0-5]),\d", r"\1,2", folds.read_text())
        folds.write_text(only)
        asked.training.labels.write_text(
            re.sub(r"(slide03[0-5]),\d", r"\1,2", asked.training.labels.read_text())
        )
        plan_cross_validation(asked)
    assert not (tmp_path / "cv").exists()


@pytest.mark.parametrize("objective", ["regression", "classification", "ordinal"])
def test_a_binary_task_is_judged_by_its_auroc(
    tmp_path: Path, asked: CrossValidationRequest, objective: str
) -> None:
    for name in ("folds.csv", "labels.csv"):
        text = (tmp_path / name).read_text()
        (tmp_path / name).write_text(
            re.sub(r"(slide\d+),(\d)", lambda m: f"{m[1]},{int(int(m[2]) > 2)}", text)
        )
    task = TaskSettings(task="binary", grades=2, objective=objective)  # type: ignore[arg-type]
    one = dataclasses.replace(asked, attentions=("masked",), seeds=1)
    results = run(changed(one, task=task))
    assert results.measure == "auroc"
    assert all(m.auroc is not None and 0 <= m.auroc <= 1 for m in results.members)
    assert "Area under the ROC curve" in (tmp_path / "cv/results.md").read_text()
    model = read_model(tmp_path / "cv")
    assert model.task == task
    assert model.aggregator.outputs == task.outputs
    grades = {r["grade"] for r in read_table(tmp_path / "cv/predictions/masked.csv")[1]}
    assert grades <= {"0", "1"}


def test_patience_ends_a_training_that_gets_no_better(asked: CrossValidationRequest) -> None:
    settings = dataclasses.replace(QUICK, epochs=30, patience=2, learning_rate=1e-9)
    one = dataclasses.replace(asked, attentions=("masked",), seeds=1, folds=(0,))
    plan = plan_cross_validation(changed(one, settings=settings))
    records = [e.record for e in plan.run()]
    best = max(records, key=lambda r: r.merit)
    assert len(records) == best.epoch + 2 < 30


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def test_two_processes_train_what_one_trains(tmp_path: Path, asked: CrossValidationRequest) -> None:
    """torchrun with two processes on the loopback: the same effective batch, no dropout."""
    training = asked.training
    command = [
        "-m", "hvit_cli", "train", training.features, training.labels, "--folds", training.folds,
        "--fold", "0", "--attention", "masked", "--device", "cpu", "--dropout", "0",
        "--region-dim", "16", "--region-depth", "1", "--region-heads", "2", "--slide-dim", "16",
        "--slide-depth", "1", "--slide-heads", "2", "--epochs", "2", "--learning-rate", "0.003",
        # 24 slides by 7: a last batch of 3, of which one process has two and the other one.
        "--batch-slides", "7", "--micro-batch-tokens", "100",
    ]  # fmt: skip
    torchrun = [
        "-m", "torch.distributed.run", "--nproc-per-node", "2",
        "--master-addr", "127.0.0.1", "--master-port", _free_port(),
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    for name, start in (("one", []), ("two", torchrun)):
        line = [sys.executable, *start, *command, "-o", tmp_path / name]
        ended = subprocess.run(
            [*map(str, line)],
            check=False, capture_output=True, text=True, env=environment, timeout=120,
        )  # fmt: skip
        assert ended.returncode == 0, ended.stderr[-3000:]
        # Only one process talks.
        assert ended.stderr.count("epoch 2/2") == 1
    one, two = (tmp_path / name for name in ("one", "two"))
    metrics = [read_table(p / "training/masked-fold0-seed0/metrics.csv")[1] for p in (one, two)]
    for a, b in zip(*metrics, strict=True):
        assert float(a["train_loss"]) == pytest.approx(float(b["train_loss"]), rel=1e-5)
        assert float(a["tune_loss"]) == pytest.approx(float(b["tune_loss"]), rel=1e-5)
    scores = [read_table(p / "predictions/masked.csv")[1] for p in (one, two)]
    for a, b in zip(*scores, strict=True):
        assert a["slide_id"] == b["slide_id"]
        assert float(a["score"]) == pytest.approx(float(b["score"]), abs=1e-4)
    weights = [load_file(p / "masked-fold0-seed0.safetensors") for p in (one, two)]
    # Adam makes steps of the learning rate's size from gradients that are 0 but for noise
    # (biases that a softmax cancels), so weights agree less well than what they compute.
    for name in weights[0]:
        assert (weights[0][name] - weights[1][name]).abs().max() < 1e-3, name
