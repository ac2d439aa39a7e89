from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from hvit_cli.errors import LabelError, SettingsError, UsageError
from hvit_cli.pipelines.split import SplitRequest, check, split
from hvit_cli.settings import SplitSettings
from hvit_cli.training.fold_table import read_folds

BOTH = SplitSettings(stratify=("label", "data_provider"))


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """120 slides: grades 0-5 in turn, two slides a case, sites a and b."""
    rows = (f"s{i:03d},{i // 2 % 6},case{i // 2},{'ab'[i % 4 // 2]}\n" for i in range(120))
    return write(tmp_path / "labels.csv", "slide_id,label,case_id,site\n" + "".join(rows))


@pytest.mark.parametrize("seed", [0, 1])
def test_panda_is_divided_evenly_and_no_group_is_cut(data: Path, tmp_path: Path, seed: int) -> None:
    request = SplitRequest(
        labels=data / "panda/train_5fold.csv",
        out=tmp_path / "folds.csv",
        settings=replace(BOTH, seed=seed),
        group_tables=(data / "panda/duplicates.csv",),
    )
    done = split(request)
    assert len(done.folds.labels) == 10616
    # Measured anew from the file, by an independent count.
    folds = read_folds(tmp_path / "folds.csv")
    tunes = [folds.fold(k).tune for k in folds.numbers]
    assert sum(map(len, tunes)) == 10616
    whole = Counter(folds.labels.values())
    for tune in tunes:
        shares = Counter(tune.values())
        for grade in range(6):
            assert shares[grade] / len(tune) == pytest.approx(whole[grade] / 10616, rel=0.01)
    provider = {
        row.split(",")[0]: row.split(",")[1]
        for row in (data / "panda/train_5fold.csv").read_text().splitlines()[1:]
    }
    for tune in tunes:
        share = sum(provider[i] == "radboud" for i in tune) / len(tune)
        assert abs(share - 5160 / 10616) < 0.002
    group_rows = (data / "panda/duplicates.csv").read_text().splitlines()[1:]
    touched: dict[str, set[int]] = {}
    for row in group_rows:
        slide_id, group, _ = row.split(",")
        touched.setdefault(group, set()).add(folds.fold_of[slide_id])
    assert len(touched) == 631
    assert all(len(parts) == 1 for parts in touched.values())
    report = done.report
    assert not report.straddling
    assert report.label_deviation is not None
    assert report.label_deviation < 0.01
    assert report.share_deviation["data_provider"] < 0.2


def test_panda_doubtful_rows_and_groups_are_reported(data: Path) -> None:
    request = SplitRequest(
        labels=data / "panda/train_5fold.csv",
        out=None,
        fold_column="kfold",
        group_tables=(data / "panda/duplicates.csv",),
    )
    done = split(request)
    report = done.report
    assert done.folds.numbers == (1, 2, 3, 4, 5)
    assert not report.straddling
    assert report.largest_group == 131
    doubts = "; ".join(report.doubts)
    assert (
        "1 rows whose gleason_score contradicts the label "
        "(b0a92a74cb53899311acc30b7405e101 has 4+3 and 2)" in doubts
    )
    assert "13 of 131 slides" in doubts
    assert "77 groups that mix values of data_provider" in doubts


def test_panda_by_the_papers_rule_alone(data: Path) -> None:
    """Without the provider among the strata its share is left to chance."""
    report = split(SplitRequest(labels=data / "panda/train_5fold.csv", out=None)).report
    assert report.label_deviation is not None
    assert report.label_deviation < 0.01


def test_a_published_split_cuts_205_groups(data: Path) -> None:
    parts = [data / f"panda/gigapath_{name}.csv" for name in ("train", "val", "test")]
    report = check(parts, group_tables=[data / "panda/duplicates.csv"])
    assert len(report.straddling) == 205
    assert [part.slides for part in report.parts] == [7647, 954, 954]
    assert report.repeated == []


def test_cases_stay_together_and_a_test_part_is_drawn(labels: Path, tmp_path: Path) -> None:
    settings = SplitSettings(folds=3, test_fraction=0.2, stratify=("label", "site"))
    request = SplitRequest(labels=labels, out=tmp_path / "folds.csv", settings=settings)
    done = split(request)
    folds = read_folds(tmp_path / "folds.csv")
    assert folds.numbers == (1, 2, 3)
    assert folds.test_sets == ("test",)
    assert abs(len(folds.test()) - 24) <= 2
    part_of = {i: folds.fold_of.get(i, 0) for i in folds.labels}
    for i in range(0, 120, 2):
        assert part_of[f"s{i:03d}"] == part_of[f"s{i + 1:03d}"]
    assert folds.case_of["s001"] == "case0"
    assert not done.report.straddling
    again = split(request)
    assert again.folds == done.folds
    other = split(replace(request, settings=replace(settings, seed=1)))
    assert other.folds.fold_of != done.folds.fold_of


def test_given_test_sets_keep_their_names_and_bring_labels(labels: Path, tmp_path: Path) -> None:
    public = write(tmp_path / "public.csv", "slide_id\ns000\ns001\n")
    private = write(tmp_path / "private.csv", "image_id,isup_grade\nnew1,3\nnew2,4+4\n")
    done = split(SplitRequest(labels=labels, out=None, tests=(public, private)))
    assert done.folds.test("public") == {"s000": 0, "s001": 0}
    assert done.folds.test("private") == {"new1": 3, "new2": 4}
    assert len(done.folds.fold_of) == 118


def test_a_test_set_that_cuts_a_case_is_refused_dropped_or_kept(
    labels: Path, tmp_path: Path
) -> None:
    test = write(tmp_path / "held.csv", "slide_id\ns000\n")
    request = SplitRequest(labels=labels, out=None, tests=(test,))
    with pytest.raises(LabelError, match=r"1 groups in more than one part \(case0 in fold"):
        split(request)
    dropped = split(replace(request, straddling="drop"))
    assert dropped.dropped == ["s001"]
    assert "s001" not in dropped.folds.labels
    kept = split(replace(request, straddling="keep"))
    assert list(kept.report.straddling) == ["case0"]


def test_given_folds_that_cut_a_group_are_refused(tmp_path: Path) -> None:
    rows = "a,0,1,x\nb,1,2,x\nc,2,1,y\nd,3,2,z\n"
    path = write(tmp_path / "labels.csv", "slide_id,label,kfold,patient\n" + rows)
    request = SplitRequest(labels=path, out=None, fold_column="kfold", group_columns=("patient",))
    with pytest.raises(LabelError, match="x in fold 1 and fold 2"):
        split(request)
    assert split(replace(request, group_columns=())).folds.fold_of == {
        "a": 1,
        "b": 2,
        "c": 1,
        "d": 2,
    }


def test_excluded_rows_are_not_even_checked(labels: Path, tmp_path: Path) -> None:
    text = labels.read_text() + "odd,9,c,a\n"
    path = write(tmp_path / "more.csv", text)
    with pytest.raises(LabelError, match=r"1 unknown grades.*odd has '9'"):
        split(SplitRequest(labels=path, out=None))
    exclude = write(tmp_path / "exclude.csv", "slide_id\nodd\n")
    assert len(split(SplitRequest(labels=path, out=None, exclude=exclude)).folds.labels) == 120


def test_problems_of_all_tables_are_reported_together(tmp_path: Path) -> None:
    path = write(tmp_path / "labels.csv", "slide_id,label\na,0\na,1\nb,7\nc,\nd,1\n")
    one = write(tmp_path / "one.csv", "slide_id,label\nd,2\nz,\n")
    two = write(tmp_path / "two.csv", "slide_id\nd\n")
    with pytest.raises(LabelError) as caught:
        split(SplitRequest(labels=path, out=None, tests=(one, two)))
    message = str(caught.value)
    for said in (
        "1 ids that occur more than once (a)",
        "1 unknown grades",
        "1 ids without a label (c)",
        "1 slides of one with another label in labels.csv (d)",
        "1 slides of one without a label (z)",
        "1 slides of two in another test set too (d)",
    ):
        assert said in message
    assert "\n" not in message


def test_what_cannot_be_divided_is_said_at_once(tmp_path: Path) -> None:
    path = write(tmp_path / "labels.csv", "slide_id,label\na,3\nb,3\nc,3\n")
    with pytest.raises(LabelError) as caught:
        split(SplitRequest(labels=path, out=None))
    assert "3 groups or single slides for 5 parts" in str(caught.value)
    assert "1 class of label only (3)" in str(caught.value)


def test_a_rare_grade_is_pointed_out(tmp_path: Path) -> None:
    rows = "".join(f"s{i},{5 if i < 2 else i % 2}\n" for i in range(40))
    path = write(tmp_path / "labels.csv", "slide_id,label\n" + rows)
    report = split(SplitRequest(labels=path, out=None)).report
    assert "1 grades that cannot be in each of 5 parts (5 in 2)" in report.doubts


def test_an_unknown_column_lists_what_there_is(labels: Path) -> None:
    with pytest.raises(LabelError, match=r"no such column; found slide_id, label.*wanted hospital"):
        settings = SplitSettings(stratify=("label", "hospital"))
        split(SplitRequest(labels=labels, out=None, settings=settings))


def test_requests_that_contradict_themselves(labels: Path) -> None:
    fraction = SplitSettings(test_fraction=0.1)
    with pytest.raises(UsageError, match="both say what is tested on"):
        SplitRequest(labels=labels, out=None, tests=(labels,), settings=fraction)
    with pytest.raises(UsageError, match="given folds leave nothing"):
        SplitRequest(labels=labels, out=None, fold_column="kfold", settings=fraction)
    with pytest.raises(UsageError, match="written as CSV"):
        SplitRequest(labels=labels, out=Path("folds.json"))
    with pytest.raises(SettingsError, match="--folds"):
        SplitSettings(folds=1)


def test_check_needs_to_know_the_parts(labels: Path) -> None:
    with pytest.raises(UsageError, match="which part each slide is in"):
        check([labels])
    report = check([labels], fold_column="site")
    assert {part.name: part.slides for part in report.parts} == {"site a": 60, "site b": 60}
    assert report.straddling == {}


def test_check_finds_slides_in_two_tables(tmp_path: Path) -> None:
    one = write(tmp_path / "train.csv", "slide_id,label\na,0\nb,1\n")
    two = write(tmp_path / "test.csv", "slide_id,label\nb,1\nc,2\n")
    assert check([one, two]).repeated == ["b"]
