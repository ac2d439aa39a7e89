from __future__ import annotations

from pathlib import Path

import pytest

from hvit_cli.errors import DamagedFileError, LabelError
from hvit_cli.training.fold_table import Folds, read_folds, record_path, write_folds
from hvit_cli.training.labels import read_labels


@pytest.fixture
def folds(tmp_path: Path) -> Folds:
    return Folds(
        path=tmp_path / "folds.csv",
        labels={"007": 0, "=b": 1, "c": 5, "d": 2, "e": 3},
        fold_of={"007": 1, "=b": 2, "c": 10},
        test_set_of={"d": "public", "e": "private"},
        group_of={"=b": "7", "c": "7"},
        case_of={"d": "case 1"},
        record={"settings": {"seed": 3}},
    )


def table(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "given.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_what_is_written_is_read_back(folds: Folds) -> None:
    write_folds(folds)
    read = read_folds(folds.path)
    for name in ("labels", "fold_of", "test_set_of", "group_of", "case_of", "digest"):
        assert getattr(read, name) == getattr(folds, name)
    assert read.record is not None
    assert read.record["settings"] == {"seed": 3}
    assert list(read.labels) == list(folds.labels)


def test_one_fold_tunes_the_others_train_and_test_slides_do_neither(folds: Folds) -> None:
    assert folds.numbers == (1, 2, 10)
    fold = folds.fold(2)
    assert (fold.train, fold.tune) == ({"007": 0, "c": 5}, {"=b": 1})
    assert folds.test() == {"d": 2, "e": 3}
    assert folds.test("private") == {"e": 3}
    assert folds.test_sets == ("public", "private")
    assert folds.part("tests") == folds.test()
    assert folds.part("private") == {"e": 3}
    assert folds.part("folds").keys() == folds.fold_of.keys()
    assert [folds.part_of(i, 10) for i in folds.labels] == [
        "train",
        "train",
        "tune",
        "public",
        "private",
    ]
    with pytest.raises(LabelError, match="no such fold; found 1, 2, 10; wanted 3"):
        folds.fold(3)
    with pytest.raises(LabelError, match="no such test set; found public, private; wanted x"):
        folds.test("x")


def test_a_table_from_elsewhere_needs_ids_labels_and_folds_only(tmp_path: Path) -> None:
    read = read_folds(table(tmp_path, "slide_id;label;fold\na;3;0\nb;4;1\n"))
    assert read.fold(1).tune == {"b": 4}
    assert read.test() == {}
    assert read.record is None


def test_all_problems_are_reported_together(tmp_path: Path) -> None:
    text = "slide_id,label,fold,set\na,0,1,\na,1,2,\nb,9,1,\nc,1,1.5,\nd,1,2,test\ne,1,,\nf,1,-1,\n"
    with pytest.raises(LabelError) as caught:
        read_folds(table(tmp_path, text))
    message = str(caught.value)
    for said in (
        "1 ids that occur more than once (a)",
        "1 unknown grades, wanted 0 to 5 or 3+3 to 5+5, 0+0 or negative (b has '9')",
        "2 slides whose fold is no whole number (c has '1.5', f has '-1')",
        "1 slides in a fold and in a test set (d)",
        "1 slides in neither a fold nor a test set (e)",
    ):
        assert said in message
    assert "\n" not in message


def test_a_table_changed_after_it_was_drawn_is_refused(folds: Folds) -> None:
    write_folds(folds)
    text = folds.path.read_text(encoding="utf-8")
    folds.path.write_text(text.replace("c,5,10", "c,5,1"), encoding="utf-8")
    with pytest.raises(DamagedFileError, match="changed after it was drawn"):
        read_folds(folds.path)
    record_path(folds.path).unlink()
    assert read_folds(folds.path).fold_of["c"] == 1


def test_the_digest_ignores_order_and_groups_but_no_membership(folds: Folds) -> None:
    from dataclasses import replace

    turned = replace(folds, labels=dict(reversed(list(folds.labels.items()))), group_of={})
    assert turned.digest == folds.digest
    assert replace(folds, fold_of={**folds.fold_of, "c": 2}).digest != folds.digest
    assert replace(folds, labels={**folds.labels, "c": 4}).digest != folds.digest
    assert replace(folds, test_set_of={"d": "x", "e": "private"}).digest != folds.digest


def test_contradicting_labels_are_named(folds: Folds, tmp_path: Path) -> None:
    labels = read_labels(table(tmp_path, "slide_id,label\n007,1\nc,5\nnew,2\n"))
    said = "; ".join(map(str, folds.contradictions(labels)))
    assert "1 labels that differ from folds.csv (007 has 1, was 0)" in said
    assert "1 slides that folds.csv does not divide (new" in said
