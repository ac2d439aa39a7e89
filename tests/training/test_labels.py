from __future__ import annotations

from pathlib import Path

import pytest

from hvit_cli.errors import HvitError, LabelError, StorageError
from hvit_cli.training.labels import labels_hash, read_labels, read_slide_ids, require_sound


def table(tmp_path: Path, text: str, name: str = "labels.csv") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "text",
    [
        "slide_id,label\n007,3\nb,0\n",
        "image_id,data_provider,isup_grade\n007,radboud,3\nb,karolinska,0\n",
        "\ufeffSlide_ID;Label\n007;3\nb;0\n",
        "image_id\tisup_grade\n007\t3.0\nb\t0\n\n",
        "slide_id,label\r\n 007 , 3 \r\nb,0\r\n",
    ],
)
def test_usual_headings_separators_and_ids_as_text(tmp_path: Path, text: str) -> None:
    labels = require_sound(read_labels(table(tmp_path, text)))
    assert labels.labels == {"007": 3, "b": 0}


def test_panda_as_it_is(data: Path) -> None:
    labels = require_sound(read_labels(data / "panda/train_5fold.csv"))
    counts = [list(labels.labels.values()).count(grade) for grade in range(6)]
    assert counts == [2892, 2666, 1343, 1242, 1249, 1224]
    assert (
        sum(provider == "radboud" for provider in labels.column("data_provider").values()) == 5160
    )


def test_gleason_scores_become_isup_grades(tmp_path: Path) -> None:
    text = "slide_id,gleason_score\na,negative\nb,0+0\nc,4+3\nd,5 + 4\n"
    assert require_sound(read_labels(table(tmp_path, text))).labels == {
        "a": 0,
        "b": 0,
        "c": 3,
        "d": 5,
    }
    both = table(tmp_path, "slide_id,isup_grade,gleason_score\na,2,4+3\n")
    assert read_labels(both).labels == {"a": 2}
    assert read_labels(both, label_column="gleason_score").labels == {"a": 3}


def test_gleason_scores_are_no_labels_of_other_classes(tmp_path: Path) -> None:
    path = table(tmp_path, "slide_id,label\na,1\nb,3+3\n")
    with pytest.raises(LabelError, match=r"wanted 0 to 1 \(b has '3\+3'\)"):
        require_sound(read_labels(path, grades=2))


def test_given_headings(tmp_path: Path) -> None:
    path = table(tmp_path, "case,slide_id,label,second_read\na,1,0,5\nb,2,1,4\n")
    labels = read_labels(path, id_column="case", label_column="second_read")
    assert labels.labels == {"a": 5, "b": 4}


def test_all_problems_of_a_table_are_reported_together(tmp_path: Path) -> None:
    text = "slide_id,label\na,0\nb\nc,nan\nd,7\ne,7\nf,2.5\na,0\na,1\n,3\nh,-1\n"
    with pytest.raises(LabelError) as caught:
        require_sound(read_labels(table(tmp_path, text)))
    message = str(caught.value)
    assert "1 rows without an id (row 9)" in message
    assert "1 ids that occur more than once (a)" in message
    assert "2 ids without a label (b, c)" in message
    assert (
        "4 unknown grades, wanted 0 to 5 or 3+3 to 5+5, 0+0 or negative "
        "(d has '7', e has '7', f has '2.5', …)" in message
    )
    assert "\n" not in message


def test_a_heading_that_is_absent_lists_what_there_is(tmp_path: Path) -> None:
    path = table(tmp_path, "slide_id,grade\na,1\n")
    with pytest.raises(LabelError, match=r"headings slide_id, grade.*--label-column"):
        read_labels(path)
    with pytest.raises(LabelError, match="wanted Grade"):
        read_labels(path, label_column="Grade")


def test_two_candidates_are_not_guessed_between(tmp_path: Path) -> None:
    path = table(tmp_path, "slide_id,image_id,label\na,b,1\n")
    with pytest.raises(LabelError, match=r"several columns .* slide_id, image_id.*--id-column"):
        read_labels(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"slide_id,label\n", "no rows"),
        (b"slide_id,label,label\na,1,1\n", "one heading"),
        (b"\xff\xfe\x00\x81", "not UTF-8 text"),
    ],
)
def test_files_that_are_no_table(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes(content)
    with pytest.raises(HvitError, match=message):
        read_labels(path)


def test_a_table_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be read"):
        read_labels(tmp_path / "absent.csv")


def test_a_list_of_slides_needs_no_labels(tmp_path: Path) -> None:
    only_ids = read_slide_ids(table(tmp_path, "image_id\na\nb\n"))
    assert (list(only_ids.rows), dict(only_ids.labels)) == (["a", "b"], {})
    with_labels = read_slide_ids(table(tmp_path, "image_id,isup_grade\na,4\n", "other.csv"))
    assert with_labels.labels == {"a": 4}


def test_the_hash_of_labels_ignores_order_and_notices_a_changed_label() -> None:
    assert labels_hash({"a": 1, "b": 2}) == labels_hash({"b": 2, "a": 1})
    assert labels_hash({"a": 1, "b": 2}) != labels_hash({"a": 1, "b": 3})
