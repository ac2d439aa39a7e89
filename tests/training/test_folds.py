from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvit_cli.errors import LabelError
from hvit_cli.training.folds import draw_fold, fold_of_column, fold_of_table, restrict
from hvit_cli.training.labels import read_labels, read_slide_ids


@given(
    counts=st.lists(st.integers(0, 40), min_size=6, max_size=6),
    fraction=st.floats(0.1, 0.5),
    seed=st.integers(0, 99),
)
def test_every_grade_gives_its_share(counts: list[int], fraction: float, seed: int) -> None:
    labels = {f"{g}-{i}": g for g, count in enumerate(counts) for i in range(count)}
    if sum(count >= 4 for count in counts) < 2:
        return
    fold = draw_fold(labels, fraction, seed)
    assert {**fold.train, **fold.tune} == labels
    tuned = Counter(fold.tune.values())
    for grade, count in enumerate(counts):
        assert abs(tuned[grade] - fraction * count) <= 1
        assert tuned[grade] < count or count == 0
    assert abs(len(fold.tune) - fraction * len(labels)) <= 1 + counts.count(1)


def test_the_draw_depends_on_the_seed_and_not_on_the_order() -> None:
    labels = {f"s{i}": i % 3 for i in range(60)}
    backwards = dict(reversed(labels.items()))
    assert draw_fold(labels, 0.2, 5) == draw_fold(backwards, 0.2, 5)
    assert draw_fold(labels, 0.2, 5).tune != draw_fold(labels, 0.2, 6).tune


def test_too_few_slides_are_refused() -> None:
    with pytest.raises(LabelError, match="no slide is left for tuning"):
        draw_fold({"a": 0, "b": 1}, 0.5, 0)


def test_a_column_of_folds(data: Path) -> None:
    fold = fold_of_column(read_labels(data / "panda/train_5fold.csv"), "kfold", "3")
    assert len(fold.train) + len(fold.tune) == 10_616
    assert abs(len(fold.tune) - 10_616 / 5) < 200
    assert "kfold = 3" in fold.origin


def test_a_column_of_folds_that_does_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("slide_id,label,fold\na,0,1\nb,1,2\nc,2,\n")
    table = read_labels(path)
    with pytest.raises(LabelError, match=r"found 1 rows without fold \(c\)"):
        fold_of_column(table, "fold", "1")
    with pytest.raises(
        LabelError, match="no such column; found slide_id, label, fold; wanted kfold"
    ):
        fold_of_column(table, "kfold", "1")
    path.write_text("slide_id,label,fold\na,0,1\nb,1,2\n")
    with pytest.raises(LabelError, match="no row has this fold; found 1, 2; wanted 3"):
        fold_of_column(read_labels(path), "fold", "3")


def test_a_table_of_tuning_slides(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("slide_id,label\na,0\nb,1\nc,2\n")
    (tmp_path / "tune.csv").write_text("slide_id\nb\n")
    (tmp_path / "more.csv").write_text("slide_id,label\nx,5\nc,2\n")
    labels = read_labels(tmp_path / "labels.csv")
    by_name = fold_of_table(labels, read_slide_ids(tmp_path / "tune.csv"))
    assert (by_name.train, by_name.tune) == ({"a": 0, "c": 2}, {"b": 1})
    by_own_labels = fold_of_table(labels, read_slide_ids(tmp_path / "more.csv"))
    assert (by_own_labels.train, by_own_labels.tune) == ({"a": 0, "b": 1}, {"c": 2, "x": 5})


def test_a_table_of_tuning_slides_that_contradicts_or_lacks_labels(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("slide_id,label\na,0\nb,1\n")
    (tmp_path / "tune.csv").write_text("slide_id,label\nb,4\n")
    (tmp_path / "names.csv").write_text("slide_id\nz\n")
    labels = read_labels(tmp_path / "labels.csv")
    with pytest.raises(LabelError, match=r"1 slides with another label in labels.csv \(b\)"):
        fold_of_table(labels, read_slide_ids(tmp_path / "tune.csv"))
    with pytest.raises(LabelError, match=r"1 slides without a label \(z\)"):
        fold_of_table(labels, read_slide_ids(tmp_path / "names.csv"))


def test_restricting_a_fold_to_the_slides_there_are() -> None:
    fold = draw_fold({f"s{i}": i % 2 for i in range(20)}, 0.3, 0)
    smaller = restrict(fold, {*list(fold.train)[:3], *list(fold.tune)[:2]})
    assert (len(smaller.train), len(smaller.tune)) == (3, 2)
    with pytest.raises(LabelError, match="no slide is left for tuning"):
        restrict(fold, set(fold.train))
