from __future__ import annotations

from pathlib import Path

import pytest

from hvit_cli.errors import LabelError, UsageError
from hvit_cli.training.predictions import heading_if_present, read_predictions


def table(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "predictions.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_as_predict_writes_them(tmp_path: Path) -> None:
    text = "slide_id,grade,score,status,reason\n01,3,2.8,done,\n02,,,no_tissue,no tissue found\n"
    found = read_predictions(table(tmp_path, text)).together()
    assert (found["01"].grade, found["01"].score) == (3, 2.8)
    assert (found["02"].grade, found["02"].reason) == (None, "no tissue found")


def test_scores_alone_are_rounded_halves_to_even(tmp_path: Path) -> None:
    path = table(tmp_path, "slide_id,score\na,0.5\nb,1.5\nc,9\nd,-2\n")
    assert [p.grade for p in read_predictions(path).together().values()] == [0, 2, 5, 0]


def test_a_grade_that_is_not_its_rounded_score_is_pointed_out(tmp_path: Path) -> None:
    found = read_predictions(table(tmp_path, "slide_id,grade,score\na,3,2.2\nb,1,1.0\n"))
    assert found.unrounded == ["a"]
    assert found.together()["a"].grade == 3


def test_a_label_column_is_never_taken_for_the_prediction(tmp_path: Path) -> None:
    path = table(tmp_path, "image_id,isup_grade,preds\na,1,2\n")
    with pytest.raises(LabelError, match="try --prediction-column"):
        read_predictions(path)
    assert read_predictions(path, prediction_column="preds").together()["a"].grade == 2


def test_several_models_must_be_told_apart(tmp_path: Path) -> None:
    rows = "a,1,x,masked\na,2,x,plain\na,3,y,masked\n"
    path = table(tmp_path, "slide_id,grade,model,attention\n" + rows)
    with pytest.raises(UsageError) as caught:
        read_predictions(path)
    assert (
        "several models or attentions; found --model x --attention masked, --model x --attention "
        "plain, --model y --attention masked" in str(caught.value)
    )
    with pytest.raises(UsageError, match="several models"):
        read_predictions(path, attention="masked")
    found = read_predictions(path, model="x", attention="plain").together()
    assert found["a"].grade == 2
    with pytest.raises(UsageError, match="no such predictions"):
        read_predictions(path, model="z")


def test_folds_and_seeds_are_runs_and_their_mean_score_the_ensemble(tmp_path: Path) -> None:
    rows = "a,1,0,1,1.4\na,2,0,2,2.4\na,1,1,2,2.1\nb,1,0,0,0.2\nb,2,0,1,0.6\nb,1,1,0,0.4\n"
    found = read_predictions(table(tmp_path, "slide_id,fold,seed,grade,score\n" + rows))
    assert sorted(found.runs) == [("1", "0"), ("1", "1"), ("2", "0")]
    assert found.repeats
    together = found.together()
    assert together["a"].score == pytest.approx((1.4 + 2.4 + 2.1) / 3)
    assert (together["a"].grade, together["b"].grade) == (2, 0)


def test_several_grades_without_scores_have_no_mean(tmp_path: Path) -> None:
    path = table(tmp_path, "slide_id,fold,grade\na,1,1\na,2,2\n")
    with pytest.raises(LabelError, match="without scores to average"):
        read_predictions(path).together()


def test_one_slide_a_fold_is_one_cross_validated_model(tmp_path: Path) -> None:
    found = read_predictions(table(tmp_path, "slide_id,fold,grade\na,1,1\nb,2,2\n"))
    assert not found.repeats
    assert {i: p.grade for i, p in found.together().items()} == {"a": 1, "b": 2}


def test_all_problems_are_reported_together(tmp_path: Path) -> None:
    path = table(tmp_path, "slide_id,grade,score\na,1,1\na,2,2\nb,7,1\nc,1,nan\n,1,1\n")
    with pytest.raises(LabelError) as caught:
        read_predictions(path)
    for said in (
        "1 rows without an id (row 5)",
        "1 ids that occur more than once (a)",
        "1 unknown grades, wanted 0 to 5 (b has '7')",
        "1 scores that are no numbers (c has 'nan')",
    ):
        assert said in str(caught.value)


def test_an_option_serves_the_table_that_has_the_heading(tmp_path: Path) -> None:
    path = table(tmp_path, "slide_id,grade\na,1\n")
    assert heading_if_present(path, "slide_id") == "slide_id"
    assert heading_if_present(path, "image") is None
    assert heading_if_present(path, None) is None
