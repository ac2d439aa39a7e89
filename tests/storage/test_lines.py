from __future__ import annotations

import json
from pathlib import Path

import pytest

from hvit_cli.errors import StorageError
from hvit_cli.storage.lines import append_line, lines_of

RECORDS = [{"a": "é\u2028\n", "b": [1, None]}, {"a": "x", "crc32": "y"}, {"n": 1.5}]


def written(path: Path) -> bytes:
    for record in RECORDS:
        append_line(path, record)
    return path.read_bytes()


def test_records_come_back_and_every_line_is_json_for_others_too(tmp_path: Path) -> None:
    content = written(tmp_path / "a" / "log.jsonl")
    assert list(lines_of(content)) == RECORDS
    assert [json.loads(line)["crc32"] for line in content.splitlines()]
    assert content.count(b"\n") == len(RECORDS)


def test_wherever_the_last_line_is_torn_what_follows_is_a_line_of_its_own(tmp_path: Path) -> None:
    whole = written(tmp_path / "whole.jsonl")
    for end in range(len(whole) + 1):
        path = tmp_path / "log.jsonl"
        path.write_bytes(whole[:end])
        append_line(path, {"behind": end})
        *before, last = lines_of(path.read_bytes())
        assert last == {"behind": end}
        assert before == RECORDS[: len(before)]
        assert len(before) >= whole[:end].count(b"\n")


def test_a_flipped_bit_costs_its_line_or_its_two_lines_and_alters_none(tmp_path: Path) -> None:
    content = written(tmp_path / "log.jsonl")
    for place in range(len(content)):
        for bit in range(8):
            altered = bytearray(content)
            altered[place] ^= 1 << bit
            found = list(lines_of(bytes(altered)))
            # Where the bit lies in the name of the checksum, the line is one without.
            assert all(any(r.items() <= one.items() for r in RECORDS) for one in found)
            assert len(found) >= len(RECORDS) - 2


def test_lines_from_before_checksums_are_read() -> None:
    assert list(lines_of(b'{"a": 1}\n[1]\n{"b": 2}\n{"c": ')) == [{"a": 1}, {"b": 2}]


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot be written; found "):
        append_line(tmp_path / "file" / "log.jsonl", {"a": 1})
