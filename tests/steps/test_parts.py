from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace

import pytest

from hvit_cli.errors import LabelError, ManifestError
from hvit_cli.slides.entry import SlideEntry
from hvit_cli.steps.parts import refuse_trained_on, slides_of_part

ENTRIES = [SlideEntry(slide_id=name, path=Path(f"{name}.svs")) for name in "abxy"]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "folds.csv"
    rows = "a,0,1,,c1\nb,1,2,,\nx,2,,public,c2\nz,3,,private,\n"
    path.write_text("slide_id,label,fold,set,case_id\n" + rows, encoding="utf-8")
    return path


def ids(entries: list[SlideEntry]) -> list[str]:
    return [entry.slide_id for entry in entries]


def test_the_slides_of_a_part_with_their_cases(
    table: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert ids(slides_of_part(ENTRIES, table, "folds")) == ["a", "b"]
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        found = slides_of_part(ENTRIES, table, None)
    assert ids(found) == ["a", "b", "x"]
    assert [entry.case_id for entry in found] == ["c1", None, "c2"]
    assert "1 slides of the table are not here (z)" in caplog.text
    assert ids(slides_of_part(ENTRIES, table, "tests")) == ["x"]
    assert ids(slides_of_part(ENTRIES, table, "public")) == ["x"]


def test_nothing_of_the_part_is_an_error(table: Path) -> None:
    with pytest.raises(ManifestError, match=r"found 4 slides, such as a; wanted 1 slides of priv"):
        slides_of_part(ENTRIES, table, "private")
    with pytest.raises(LabelError, match="no such test set"):
        slides_of_part(ENTRIES, table, "secret")


def test_slides_that_trained_the_model_do_not_judge_it(table: Path) -> None:
    folder = SimpleNamespace(
        path=Path("model"), training={"masked-1": {"train_slides": ["b"]}, "other": {}}
    )
    members = [SimpleNamespace(file="masked-1.safetensors"), SimpleNamespace(file="x.safetensors")]
    model = SimpleNamespace(folder=folder, members=members)
    refuse_trained_on(model, slides_of_part(ENTRIES, table, "tests"))
    with pytest.raises(LabelError, match=r"judged by; found 1 slides \(b\); try --set tests"):
        refuse_trained_on(model, slides_of_part(ENTRIES, table, "folds"))
