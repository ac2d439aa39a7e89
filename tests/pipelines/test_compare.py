from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hvit_cli.errors import LabelError, UsageError
from hvit_cli.pipelines.compare import Arm, ComparisonRequest, compare
from hvit_cli.training.metrics import quadratic_kappa


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def arm(path: Path, label: np.ndarray, sd: float, seed: int, runs: list[tuple[int, int]]) -> Path:
    rng = np.random.default_rng(seed)
    lines = ["slide_id,fold,seed,score"]
    for fold, k in runs:
        score = label + rng.normal(0, sd, len(label))
        lines += [f"s{i},{fold},{k},{s:.3f}" for i, s in enumerate(score)]
    return write(path, "\n".join(lines) + "\n")


@pytest.fixture
def request_(tmp_path: Path) -> ComparisonRequest:
    """150 slides of 75 cases, graded by four (fold, seed) pairs in either arm."""
    label = np.arange(150) * 7 % 6
    rows = "".join(f"s{i},{g},c{i // 2}\n" for i, g in enumerate(label))
    runs = [(1, 0), (1, 1), (2, 0), (2, 1)]
    return ComparisonRequest(
        a=Arm(predictions=arm(tmp_path / "a.csv", label, 0.8, 1, runs)),
        b=Arm(predictions=arm(tmp_path / "b.csv", label, 0.8, 2, runs)),
        labels=write(tmp_path / "labels.csv", "slide_id,label,case_id\n" + rows),
        margin=0.05,
    )


def test_pairs_of_fold_and_seed_are_compared_jointly(request_: ComparisonRequest) -> None:
    done = compare(request_)
    assert [p.name for p in done.pairs] == [f"fold {f}, seed {s}" for f in (1, 2) for s in (0, 1)]
    assert (done.slides, done.groups, done.pairs[0].slides) == (150, 75, 150)
    gaps = [p.kappa_a - p.kappa_b for p in done.pairs]
    assert done.difference.value == pytest.approx(np.mean(gaps))
    assert done.difference.low < done.difference.value < done.difference.high
    assert compare(request_) == done
    assert compare(replace(request_, seed=1)).difference != done.difference


def test_a_large_loss_is_no_and_a_small_cohort_undecided(
    request_: ComparisonRequest, tmp_path: Path
) -> None:
    label = np.arange(150) * 7 % 6
    bad = arm(tmp_path / "bad.csv", label, 2.5, 3, [(1, 0), (1, 1), (2, 0), (2, 1)])
    assert compare(replace(request_, a=Arm(predictions=bad))).non_inferior == "no"
    turned = replace(request_, a=request_.b, b=Arm(predictions=bad))
    assert compare(turned).non_inferior == "yes"
    assert compare(replace(request_, margin=0.0001)).non_inferior == "undecided"


def test_one_cross_validated_model_is_judged_as_one(
    request_: ComparisonRequest, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    label = np.arange(150) * 7 % 6
    grades = [np.clip(label + rng.integers(-1, 2, 150), 0, 5) for _ in range(2)]
    arms = [
        write(
            tmp_path / f"{k}.csv",
            "slide_id,grade,fold\n" + "".join(f"s{i},{g},{i % 5}\n" for i, g in enumerate(grade)),
        )
        for k, grade in enumerate(grades)
    ]
    done = compare(replace(request_, a=Arm(predictions=arms[0]), b=Arm(predictions=arms[1])))
    assert [p.name for p in done.pairs] == ["all"]
    assert done.kappa_a.value == quadratic_kappa(label, grades[0])
    assert done.kappa_b.value == quadratic_kappa(label, grades[1])


def test_both_arms_in_one_table(request_: ComparisonRequest, tmp_path: Path) -> None:
    a, b = (r.predictions.read_text().splitlines() for r in (request_.a, request_.b))
    lines = [a[0] + ",attention", *(f"{x},masked" for x in a[1:]), *(f"{x},plain" for x in b[1:])]
    table = write(tmp_path / "both.csv", "\n".join(lines) + "\n")
    with pytest.raises(UsageError, match="compared with itself"):
        replace(request_, a=Arm(predictions=table), b=Arm(predictions=table))
    both = replace(
        request_,
        a=Arm(predictions=table, attention="masked"),
        b=Arm(predictions=table, attention="plain"),
    )
    assert compare(both).difference == compare(request_).difference


def test_arms_of_other_models_are_refused(request_: ComparisonRequest, tmp_path: Path) -> None:
    other = arm(tmp_path / "other.csv", np.arange(150) * 7 % 6, 1, 1, [(1, 0), (3, 0)])
    with pytest.raises(LabelError) as caught:
        compare(replace(request_, b=Arm(predictions=other)))
    assert "4 pairs of fold and seed (fold 1, seed 1 in one arm" in str(caught.value)


def test_missing_slides_of_both_arms_are_reported_together(
    request_: ComparisonRequest, tmp_path: Path
) -> None:
    shorter = []
    for k, of in enumerate((request_.a, request_.b)):
        lines = of.predictions.read_text().splitlines()
        kept = [t for t in lines if not t.startswith(f"s{k},")]
        if k:
            kept = [t for t in kept if not t.startswith("s7,1,0,")]
        shorter.append(Arm(predictions=write(tmp_path / f"short{k}.csv", "\n".join(kept) + "\n")))
    request = replace(request_, a=shorter[0], b=shorter[1])
    with pytest.raises(LabelError) as caught:
        compare(request)
    message = str(caught.value)
    assert "1 labelled slides without a grade in A (short0.csv) (s0" in message
    assert "1 labelled slides without a grade in B (short1.csv) (s1" in message
    assert "s7 in fold 1, seed 0" in message
    done = compare(replace(request, allow_missing=True))
    assert [p.slides for p in done.pairs] == [147, 148, 148, 148]


def test_one_test_set_of_a_table_of_folds(request_: ComparisonRequest, tmp_path: Path) -> None:
    label = np.arange(150) * 7 % 6
    rows = "".join(
        f"s{i},{g},{'' if i % 2 else 1 + i % 4},{'public' if i % 2 else ''},g{i // 10}\n"
        for i, g in enumerate(label)
    )
    folds = write(tmp_path / "folds.csv", "slide_id,label,fold,set,group\n" + rows)
    done = compare(replace(request_, labels=folds, folds=folds, part="public"))
    assert (done.slides, done.groups) == (75, 15)
    # As hvit split writes it where no table says cases: a column without values.
    text = folds.read_text().replace("group\n", "group,case_id\n").replace("\ns", ",\ns")
    again = compare(replace(request_, labels=write(folds, text), folds=folds, part="public"))
    assert again == done
    with pytest.raises(UsageError, match="--set"):
        replace(request_, part="public")


@pytest.mark.parametrize(
    ("changed", "option"),
    [({"margin": 0}, "--margin"), ({"draws": 50}, "--draws"), ({"confidence": 95}, "--confidence")],
)
def test_settings_out_of_range(
    request_: ComparisonRequest, changed: dict[str, float], option: str
) -> None:
    with pytest.raises(UsageError, match=option):
        replace(request_, **changed)


def test_panda_predictions_with_and_without_augmentation(data: Path, tmp_path: Path) -> None:
    """The published predictions without test-time augmentation lose 0.001 at most 0.003."""
    with (data / "panda/public_predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    arms = [
        Arm(
            predictions=write(
                tmp_path / f"{column}.csv",
                "slide_id,grade\n" + "".join(f"{r['image_id']},{r[column]}\n" for r in rows),
            )
        )
        for column in ("preds_without_tta", "preds")
    ]
    done = compare(
        ComparisonRequest(a=arms[0], b=arms[1], labels=data / "panda/train_5fold.csv", margin=0.02)
    )
    assert done.kappa_b.value == pytest.approx(0.876001, abs=5e-7)
    assert done.non_inferior == "yes"
