from __future__ import annotations

from pathlib import Path

from hvit_cli.storage.journal import Journal


def test_rows_wait_on_disk_for_their_own_table(tmp_path: Path) -> None:
    journal = Journal(tmp_path, tmp_path / "predictions.csv")
    journal.append({"slide_id": "a", "score": 1.25, "note": None})
    journal.append({"slide_id": "é", "score": 2})
    rows, files = journal.read()
    assert rows == [{"slide_id": "a", "score": 1.25, "note": None}, {"slide_id": "é", "score": 2}]
    assert Journal(tmp_path, tmp_path / "other.csv").read() == ([], [])
    journal.remove(files)
    assert journal.read() == ([], [])


def test_a_torn_line_is_no_row(tmp_path: Path) -> None:
    journal = Journal(tmp_path, tmp_path / "predictions.csv")
    journal.append({"slide_id": "a"})
    ((own,), _) = (journal.read()[1], None)
    with own.open("a") as file:
        file.write('{"slide_id": "b", "sco')
    assert journal.read()[0] == [{"slide_id": "a"}]
    journal.append({"slide_id": "c"})
    journal.append({"slide_id": "d"})
    assert journal.read()[0] == [{"slide_id": "a"}, {"slide_id": "c"}, {"slide_id": "d"}]
