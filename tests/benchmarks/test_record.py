from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from hvit_cli.benchmarks.guard import Ratio
from hvit_cli.benchmarks.machine import describe_machine
from hvit_cli.benchmarks.record import (
    TOLERANCE,
    RecordedRatio,
    judge,
    read_record,
    shipped_record,
    write_record,
)
from hvit_cli.errors import DamagedFileError, StorageError


def ratio(median: float) -> Ratio:
    return Ratio(median=median, lowest=median - 0.1, highest=median + 0.1)


def test_a_record_is_read_as_it_was_written_with_the_machine_beside(tmp_path: Path) -> None:
    path = tmp_path / "ratios.json"
    machine = describe_machine(torch.device("cpu"))
    write_record(path, {"decode": ratio(5), "embed": ratio(0.9)}, machine, "drawn")
    assert read_record(path) == {
        "decode": RecordedRatio(ratio=5, tolerance=TOLERANCE),
        "embed": RecordedRatio(ratio=0.9, tolerance=TOLERANCE),
    }
    told = json.loads(path.read_text())
    assert told["machine"]["cores"] == machine.cores >= 1
    assert told["slide"] == "drawn"


def test_a_ratio_falls_when_it_misses_more_than_the_tolerance() -> None:
    recorded = {name: RecordedRatio(ratio=4, tolerance=0.25) for name in ("a", "b", "c")}
    verdicts = judge({"a": ratio(3.0), "b": ratio(2.9), "new": ratio(1)}, recorded)
    assert {v.name: v.fallen for v in verdicts} == {
        "a": False,
        "b": True,
        "c": True,  # not measured at all
        "new": False,
    }


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        "[]",
        '{"kind": "hvit-ratios", "schema": 99, "ratios": {}}',
        '{"kind": "hvit-ratios", "schema": 1, "ratios": {"a": {"ratio": -1, "tolerance": 0}}}',
        '{"kind": "hvit-ratios", "schema": 1, "ratios": {"a": {"ratio": 1}}}',
    ],
)
def test_what_is_no_record_is_refused_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "ratios.json"
    path.write_text(text)
    with pytest.raises(DamagedFileError, match=r"ratios\.json.*--record"):
        read_record(path)


def test_a_missing_record_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"none\.json"):
        read_record(tmp_path / "none.json")


def test_the_record_that_comes_with_hvit_holds_every_ratio() -> None:
    assert set(read_record(shipped_record())) == {
        "decode",
        "embed",
        "end to end",
        "glass",
        "loading",
        "packing",
        "start",
    }
