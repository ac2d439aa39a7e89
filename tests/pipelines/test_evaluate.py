from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hvit_cli.errors import LabelError, UsageError
from hvit_cli.pipelines.evaluate import (
    EvaluationRequest,
    evaluate,
    summary,
    write_evaluation,
)
from hvit_cli.storage.work import WorkFolder
from hvit_cli.training.metrics import grade_of, quadratic_kappa


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def request_(tmp_path: Path) -> EvaluationRequest:
    """60 slides, two a case, graded right but for every fifth, which is one too high."""
    labels = [(i * 7 % 6, f"case{i // 2}", "ab"[i % 2]) for i in range(60)]
    rows = "".join(f"s{i:02d},{g},{case},{site}\n" for i, (g, case, site) in enumerate(labels))
    predicted = [min(g + (i % 5 == 0), 5) for i, (g, *_) in enumerate(labels)]
    said = "".join(f"s{i:02d},{p},{p + 0.1},{i % 3 + 1}\n" for i, p in enumerate(predicted))
    return EvaluationRequest(
        predictions=write(tmp_path / "predictions.csv", "slide_id,grade,score,fold\n" + said),
        labels=write(tmp_path / "labels.csv", "slide_id,label,case_id,site\n" + rows),
    )


def test_public_predictions_of_panda(data: Path) -> None:
    table = data / "panda/public_predictions.csv"
    request = EvaluationRequest(
        predictions=table,
        labels=table,
        prediction_column="preds",
        score_column="probs_raw",
        fold_column="kfold",
        by=("data_provider",),
        group_tables=(data / "panda/duplicates.csv",),
    )
    done = evaluate(request)
    assert done.measures.kappa.value == pytest.approx(0.876001, abs=5e-7)
    assert {s.value: round(s.measures.kappa.value or 0, 6) for s in done.subgroups} == {
        "karolinska": 0.892225,
        "radboud": 0.831887,
    }
    folds = [0.8782, 0.8722, 0.8802, 0.8857, 0.8619]
    assert [round(run.kappa or 0, 4) for run in done.runs] == folds
    assert done.kappa_mean == pytest.approx(np.mean(folds), abs=5e-5)
    assert done.kappa_sd == pytest.approx(np.std(folds, ddof=1), abs=5e-5)
    assert (done.match.expected, done.match.found) == (10616, 10616)
    assert done.label_counts == {"all": [2892, 2666, 1343, 1242, 1249, 1224]}
    # 631 groups of 2121 slides, and 8495 slides alone.
    assert done.measures.groups == 631 + 10616 - 2121
    low, high = done.measures.kappa.low, done.measures.kappa.high
    assert low is not None
    assert high is not None
    assert 0.865 < low < 0.876001 < high < 0.887
    # Rounding the scores gives the same grades, hence the same kappa.
    scored = replace(request, prediction_column=None, by=(), group_tables=(), draws=0)
    assert done.remarks[0].startswith("1 rows whose gleason_score contradicts the label (b0a92a74")
    with pytest.raises(LabelError, match="the table lacks a column"):
        evaluate(replace(scored, score_column=None))
    assert evaluate(scored).measures.kappa.value == done.measures.kappa.value


def test_the_challenge_example(data: Path) -> None:
    done = evaluate(
        EvaluationRequest(
            predictions=data / "panda/challenge_example_submission.csv",
            labels=data / "panda/challenge_example_reference.csv",
            prediction_column="isup_grade",
        )
    )
    assert done.measures.kappa.value == pytest.approx(0.7788604459, abs=5e-11)
    assert done.match.found == 206


def test_cases_are_drawn_together_and_folds_listed(request_: EvaluationRequest) -> None:
    done = evaluate(replace(request_, by=("site",)))
    assert (done.measures.slides, done.measures.groups) == (60, 30)
    assert done.measures.mae.value == pytest.approx(
        np.abs(done.graded.score - done.graded.label).mean()
    )
    assert [(run.fold, run.slides) for run in done.runs] == [("1", 20), ("2", 20), ("3", 20)]
    assert [(s.value, s.measures.slides) for s in done.subgroups] == [("a", 30), ("b", 30)]
    assert sum(map(sum, done.confusion)) == 60
    assert evaluate(request_).measures == evaluate(request_).measures
    assert evaluate(replace(request_, seed=1)).measures.kappa != done.measures.kappa


def test_missing_slides_are_refused_unless_allowed(
    request_: EvaluationRequest, tmp_path: Path
) -> None:
    text = request_.predictions.read_text().splitlines(keepends=True)
    short = [text[0].replace("fold", "reason"), *(t.rsplit(",", 1)[0] + ",\n" for t in text[4:])]
    short.append("s02,,,no tissue found\nextra,1,1,\n")
    request = replace(request_, predictions=write(tmp_path / "short.csv", "".join(short)))
    with pytest.raises(LabelError) as caught:
        evaluate(request)
    assert "2 labelled slides without a row (s00, s01" in str(caught.value)
    assert "1 labelled slides without a grade (s02 (no tissue found)" in str(caught.value)
    assert "--allow-missing" in str(caught.value)
    done = evaluate(replace(request, allow_missing=True))
    assert (done.match.expected, done.match.found) == (60, 57)
    assert (done.match.missing, done.match.ungraded) == (["s00", "s01"], {"s02": "no tissue found"})
    assert done.match.unlabelled == ["extra"]
    assert done.measures.slides == 57


def test_nothing_in_common_is_said(request_: EvaluationRequest, tmp_path: Path) -> None:
    other = write(tmp_path / "other.csv", "slide_id,grade\ns00.tiff,1\n")
    with pytest.raises(LabelError, match="no slide in common"):
        evaluate(replace(request_, predictions=other, allow_missing=True))


def test_a_table_of_folds_says_folds_sets_and_groups(
    request_: EvaluationRequest, tmp_path: Path
) -> None:
    labels = [line.split(",") for line in request_.labels.read_text().splitlines()[1:]]
    rows = "".join(
        f"{i},{g},{'' if k >= 40 else k % 2 + 1},{'public' if k >= 40 else ''},g{k // 4}\n"
        for k, (i, g, *_) in enumerate(labels)
    )
    folds = write(tmp_path / "folds.csv", "slide_id,label,fold,set,group\n" + rows)
    bare = "".join(
        line.rsplit(",", 1)[0] + "\n" for line in request_.predictions.read_text().splitlines()
    )
    request = replace(request_, predictions=write(tmp_path / "bare.csv", bare), folds=folds)
    done = evaluate(request)
    assert [(s.column, s.value, s.measures.slides) for s in done.subgroups] == [
        ("set", "folds", 40),
        ("set", "public", 20),
    ]
    assert [(run.fold, run.slides) for run in done.runs] == [("1", 20), ("2", 20)]
    assert done.measures.groups == 15
    assert {name: sum(counts) for name, counts in done.label_counts.items()} == {
        "folds": 40,
        "public": 20,
    }
    assert evaluate(replace(request, part="public")).match.expected == 20
    with pytest.raises(LabelError, match="no such test set; found public; wanted private"):
        evaluate(replace(request, part="private"))


def test_seeds_of_a_fold_are_averaged_before_folds_are(
    request_: EvaluationRequest, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    rows = "".join(
        f"s{i:02d},{fold},{seed},{i * 7 % 6 + rng.normal():.3f}\n"
        for fold in (1, 2, 3)
        for seed in (0, 1)
        for i in range(60)
    )
    table = write(tmp_path / "runs.csv", "slide_id,fold,seed,score\n" + rows)
    done = evaluate(replace(request_, predictions=table, draws=0))
    kappas = np.array([run.kappa for run in done.runs]).reshape(3, 2)
    assert done.kappa_mean == pytest.approx(kappas.mean())
    assert done.kappa_sd == pytest.approx(kappas.mean(1).std(ddof=1))
    # All six together are the ensemble, each slide once.
    assert done.measures.slides == 60
    assert done.measures.kappa.value > kappas.max()
    one = table.read_text().splitlines(keepends=True)[:121]
    done = evaluate(replace(request_, predictions=write(table, "".join(one)), draws=0))
    assert done.kappa_sd == pytest.approx(kappas[0].std(ddof=1))


def test_a_case_is_judged_by_its_worst_slide_or_by_a_table_of_cases(
    request_: EvaluationRequest, tmp_path: Path
) -> None:
    labels = [line.split(",") for line in request_.labels.read_text().splitlines()[1:]]
    with pytest.raises(LabelError, match=r"30 cases whose slides have different labels"):
        evaluate(replace(request_, cases=True))
    rows = "".join(f"{i},{k // 2 % 6},{case}\n" for k, (i, _, case, _) in enumerate(labels))
    one = write(tmp_path / "one.csv", "slide_id,label,case_id\n" + rows)
    done = evaluate(replace(request_, labels=one, cases=True, draws=0))
    assert (done.match.expected, done.measures.slides) == (30, 30)
    scores = {}
    for line in request_.predictions.read_text().splitlines()[1:]:
        slide_id, _, score, _ = line.split(",")
        case = f"case{int(slide_id[1:]) // 2}"
        scores[case] = max(float(score), scores.get(case, -1))
    truth = {f"case{k}": k % 6 for k in range(30)}
    wanted = quadratic_kappa(list(truth.values()), grade_of([scores[case] for case in truth]))
    assert done.measures.kappa.value == pytest.approx(wanted)
    table = "case_id,score\n" + "".join(f"{case},{score}\n" for case, score in scores.items())
    of_cases = write(tmp_path / "cases.csv", table)
    again = evaluate(replace(request_, predictions=of_cases, labels=one, cases=True, draws=0))
    assert again.measures.kappa == done.measures.kappa
    with pytest.raises(LabelError, match="no such column"):
        bare = write(tmp_path / "bare.csv", "slide_id,label\ns00,1\n")
        evaluate(replace(request_, labels=bare, cases=True))


def test_what_is_written(request_: EvaluationRequest, tmp_path: Path) -> None:
    work = WorkFolder(tmp_path / "work")
    worst = "s00"
    for path in (work.heatmap(worst), work.qc_picture("s10")):
        path.parent.mkdir(parents=True)
        Image.new("RGB", (500, 300), (200, 100, 150)).save(path)
    done = evaluate(request_)
    written = write_evaluation(done, tmp_path / "out", worst=30, work=work)
    assert [path.name for path in written.files] == [
        "evaluation.json",
        "confusion.png",
        "labels.png",
        "scores.png",
        "worst.png",
    ]
    assert len(written.without_picture) == 28
    assert not {"s00", "s10"} & set(written.without_picture)
    stored = json.loads((tmp_path / "out/evaluation.json").read_text(encoding="utf-8"))
    assert stored == json.loads(json.dumps(summary(done)))
    assert stored["seed"] == 0
    assert stored["measures"]["kappa"]["value"] == done.measures.kappa.value
    assert "graded" not in stored
    first = (tmp_path / "out/confusion.png").read_bytes()
    write_evaluation(done, tmp_path / "again")
    assert (tmp_path / "again/confusion.png").read_bytes() == first


def test_too_few_draws_are_refused(request_: EvaluationRequest) -> None:
    with pytest.raises(UsageError, match="--draws"):
        replace(request_, draws=100)
    with pytest.raises(UsageError, match="--set"):
        replace(request_, part="test")
    assert evaluate(replace(request_, draws=0)).measures.kappa.low is None
