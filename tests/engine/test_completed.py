"""Products of slides that another process did."""

from __future__ import annotations

from pathlib import Path

import pytest
from slide_jobs import WritingJob

from hvit_cli.engine.completed import with_products
from hvit_cli.engine.execute import run_job
from hvit_cli.engine.run import SlideRecord
from hvit_cli.slides.entry import SlideEntry
from hvit_cli.storage.status import StatusRow, read_status
from hvit_cli.storage.work import WorkFolder


def record(slide_id: str, *, is_elsewhere: bool, status: str = "done") -> SlideRecord[str]:
    row = StatusRow(slide_id=slide_id, path=f"{slide_id}.svs", stage="tile", status=status)  # type: ignore[arg-type]
    product = None if is_elsewhere else "mine"
    return SlideRecord(number=1, total=3, row=row, product=product, is_elsewhere=is_elsewhere)


def entries(*names: str) -> list[SlideEntry]:
    return [SlideEntry(slide_id=name, path=Path(f"{name}.svs")) for name in names]


def test_only_missing_products_are_fetched(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("B")
    given = [
        record("a", is_elsewhere=False),
        record("b", is_elsewhere=True),
        record("c", is_elsewhere=True, status="failed"),
    ]
    job = WritingJob(work=WorkFolder(tmp_path))
    found = list(with_products(given, job, entries("a", "b", "c")))
    assert [one.product and one.product.split()[0] for one in found] == ["mine", "b", None]
    assert [one.row for one in found] == [one.row for one in given]
    assert not read_status(tmp_path)


def test_nothing_is_opened_where_nothing_is_missing(tmp_path: Path) -> None:
    job = WritingJob(work=WorkFolder(tmp_path), refused=True)
    assert len(list(with_products([record("a", is_elsewhere=False)], job, entries("a")))) == 1


def test_what_cannot_be_fetched_is_a_failed_slide(tmp_path: Path) -> None:
    job = WritingJob(work=WorkFolder(tmp_path))
    (found,) = with_products([record("bad1", is_elsewhere=True)], job, entries("bad1"))
    assert found.row.status == "failed"
    assert found.product is None


@pytest.mark.parametrize("first", [1, 2])
def test_two_runs_that_share_slides_both_have_every_product(tmp_path: Path, first: int) -> None:
    names = ("a", "b", "c", "d")
    job = WritingJob(work=WorkFolder(tmp_path))
    one = with_products(run_job(entries(*names), job), job, entries(*names))
    begun = [next(one) for _ in range(first)]
    other = list(with_products(run_job(entries(*names), job), job, entries(*names)))
    rest = list(one)
    for found in ([*begun, *rest], other):
        assert sorted(str(r.product).split()[0] for r in found) == list(names)
    assert len(read_status(tmp_path)) == 4
