"""Names of slides come from others: they must not leave their folder, run, or break a page."""

from __future__ import annotations

import ast
import csv
import io
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hvit_cli.engine.claims import claim_path
from hvit_cli.errors import ManifestError
from hvit_cli.slides.cells import as_written, spreadsheet_safe
from hvit_cli.slides.entry import LONGEST_ID_BYTES, SlideEntry
from hvit_cli.slides.manifest import find_slides
from hvit_cli.storage.atomic import write_text
from hvit_cli.storage.qc import overview_page
from hvit_cli.storage.status import StatusRow
from hvit_cli.storage.tables import read_table, write_table
from hvit_cli.storage.work import WorkFolder

PACKAGE = Path(__file__).parents[2] / "hvit_cli"
ESCAPES = (
    "../x", "/etc/passwd", "..", ".", "", "a/b", "a\\b", "a\0b", "a\nb", " a", "a ",
    "x" * (LONGEST_ID_BYTES + 1), "ä" * LONGEST_ID_BYTES, "a\u202eb", "\u2028",
)  # fmt: skip


def products(work: WorkFolder, slide_id: str) -> list[Path]:
    return [
        work.mask(slide_id),
        work.contours(slide_id),
        work.tiles(slide_id),
        work.qc_picture(slide_id),
        work.heatmap(slide_id, ".ome.tiff"),
        work.traceback(slide_id, "segment"),
        claim_path(work.path / "claims" / "segment", slide_id),
    ]


@pytest.mark.parametrize("slide_id", ESCAPES)
def test_a_name_that_leads_elsewhere_or_nowhere_is_refused(slide_id: str) -> None:
    with pytest.raises(ManifestError, match="a slide_id names files"):
        SlideEntry(slide_id=slide_id, path=Path("a.svs"))


@pytest.mark.parametrize("slide_id", ["../../x", "/tmp/x", "a\0b"])
def test_a_manifest_with_such_a_name_is_refused(slide_id: str, tmp_path: Path) -> None:
    (tmp_path / "a.svs").touch()
    table = tmp_path / "manifest.csv"
    table.write_text(f"slide_id,path\n{slide_id},a.svs\n")
    with pytest.raises(ManifestError):
        find_slides([table])


def test_a_path_that_is_no_text_is_refused_in_one_line(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"sl\xff")
    folder.mkdir()
    (folder / "a.svs").touch()
    with pytest.raises(ManifestError, match="no text in UTF-8") as caught:
        find_slides([folder])
    assert "sl\\udcff" in str(caught.value)
    str(caught.value).encode()


@settings(max_examples=300, deadline=10_000)
@given(st.text(max_size=200))
def test_every_accepted_name_stays_in_its_folder(slide_id: str) -> None:
    try:
        SlideEntry(slide_id=slide_id, path=Path("a.svs"))
    except ManifestError:
        return
    for path in products(WorkFolder(Path("/work")), slide_id):
        assert path.resolve().is_relative_to("/work")
        assert path.parent.resolve() == path.resolve().parent
        assert len(path.name.encode()) <= 255


def test_the_longest_names_can_be_written(tmp_path: Path) -> None:
    for slide_id in ("x" * LONGEST_ID_BYTES, "片" * (LONGEST_ID_BYTES // 3)):
        SlideEntry(slide_id=slide_id, path=Path("a.svs"))
        for path in products(WorkFolder(tmp_path), slide_id):
            write_text(path, "whole")
            assert path.read_text() == "whole"


CELL = st.one_of(
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12),
    st.text("=+-@' 1.e\t", max_size=6),
)


@settings(max_examples=500, deadline=10_000)
@given(CELL)
def test_no_cell_is_a_formula_and_every_cell_comes_back(text: str) -> None:
    safe = spreadsheet_safe(text)
    assert as_written(safe) == text
    if safe.startswith(("=", "+", "-", "@", "\t", "\r")):
        float(safe)  # a number is the only exception


@settings(max_examples=200, deadline=10_000)
@given(st.lists(CELL.filter(lambda text: text == text.strip() and text), min_size=2, max_size=2))
def test_tables_come_back_as_they_were_written(cells: list[str]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.csv"
        write_table(
            path, ("slide_id", "reason"), [dict(zip(("slide_id", "reason"), cells, strict=True))]
        )
        assert read_table(path)[1] == [dict(zip(("slide_id", "reason"), cells, strict=True))]
        for line in csv.reader(io.StringIO(path.read_text())):
            for cell in line:
                assert spreadsheet_safe(cell) == cell or as_written(cell) != cell


def test_excluded_names_that_spreadsheets_would_run_are_excluded(tmp_path: Path) -> None:
    for name in ("-x", "b"):
        (tmp_path / f"{name}.svs").touch()
    table = tmp_path / "exclude.csv"
    write_table(table, ("slide_id",), [{"slide_id": "-x"}])
    assert table.read_text() == "slide_id\n'-x\n"
    found = find_slides([tmp_path / "-x.svs", tmp_path / "b.svs"], exclude=table)
    assert [entry.slide_id for entry in found] == ["b"]


def test_names_and_reasons_are_text_on_the_page_of_overviews() -> None:
    name = "<script>alert(1)</script>\"'&"
    row = StatusRow(slide_id=name, path="a", stage="tile", status="failed", reason="<img src=x>")
    page = overview_page([row], {name})
    assert "<script>alert" not in page
    assert "<img src=x>" not in page
    # Nothing of a name can end the page's own script.
    assert page.count("<script>") == page.count("</script>") == 1
    assert '"name":"\\u003cscript>alert(1)\\u003c/script>\\"\'&"' in page


# Pickles travel between the processes of one run alone, never through a file.
PICKLING = {"engine/processes.py", "engine/worker.py", "engine/ray_engine.py"}


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda f: f.name)
def test_no_file_of_others_is_run(file: Path) -> None:
    """No pickle, eval or exec; every `torch.load` restricted, every `np.load` without pickles."""
    for node in ast.walk(ast.parse(file.read_text())):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        given_as = {word.arg: ast.unparse(word.value) for word in node.keywords}
        assert called not in {"eval", "exec", "os.system", "joblib.load", "yaml.load"}
        assert given_as.get("shell") != "True"
        if called == "torch.load":
            assert given_as.get("weights_only") == "True"
        if called == "np.load":
            assert given_as.get("allow_pickle") == "False"
        if called in ("pickle.load", "pickle.loads", "pickle.Unpickler"):
            assert str(file.relative_to(PACKAGE)) in PICKLING
