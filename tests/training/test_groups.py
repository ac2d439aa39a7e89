from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from hvit_cli.errors import LabelError
from hvit_cli.training.groups import (
    join_groups,
    mixing,
    over_inclusive,
    read_group_table,
    source_of_column,
    straddling,
)


def test_a_column_groups_equal_values_and_leaves_empty_cells_alone() -> None:
    source = source_of_column("patient", {"a": "p", "b": "p", "c": "q", "d": "", "e": ""})
    assert join_groups("abcde", [source]) == {"a": "p", "b": "p"}


def test_groups_that_share_a_slide_become_one() -> None:
    patients = source_of_column("patient", {"a": "1", "b": "1", "c": "2", "d": "2", "e": "3"})
    twins = source_of_column("twins", {"b": "x", "c": "x", "e": ""})
    assert join_groups("abcde", [patients, twins]) == dict.fromkeys("abcd", "patient 1")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 14), st.integers(0, 5), st.integers(0, 1)), max_size=40))
def test_groups_are_the_connected_components(rows: list[tuple[int, int, int]]) -> None:
    sources = []
    for k in (0, 1):
        members: dict[str, list[str]] = {}
        for slide, value, source in rows:
            if source == k:
                members.setdefault(str(value), []).append(str(slide))
        if members:
            column = source_of_column(f"s{k}", {"none": "0"})
            sources.append(
                type(column)(name=f"s{k}", members={v: tuple(m) for v, m in members.items()})
            )
    found = join_groups(map(str, range(15)), sources)
    # Slides 0-14 and one node per group and source, joined by an edge per row.
    edges = [(slide, 15 + value + 6 * source) for slide, value, source in rows]
    pairs = np.array(edges or [(0, 0)]).T
    graph = coo_array((np.ones(pairs.shape[1]), (pairs[0], pairs[1])), shape=(27, 27))
    component = connected_components(graph, directed=False)[1][:15]
    for one in range(15):
        for other in range(one):
            together = component[one] == component[other]
            a, b = found.get(str(one)), found.get(str(other))
            assert together == (a is not None and a == b)


def test_a_table_of_groups_under_usual_headings(tmp_path: Path) -> None:
    path = tmp_path / "patients.csv"
    path.write_text("image_id;patient\n01;x\n02;x\n03;\n9;y\n", encoding="utf-8")
    assert join_groups(["01", "02", "03"], [read_group_table(path)]) == {"01": "x", "02": "x"}
    path.write_text("image_id,hospital\n01,x\n", encoding="utf-8")
    with pytest.raises(LabelError, match="the table lacks a column; found the headings image_id"):
        read_group_table(path)


def test_panda_near_duplicates(data: Path) -> None:
    source = read_group_table(data / "panda/duplicates.csv")
    assert len(source.members) == 631
    assert sum(map(len, source.members.values())) == 2121


def test_what_straddles_and_what_mixes() -> None:
    group_of = {"a": "g", "b": "g", "c": "h", "d": "h"}
    assert straddling(group_of, {"a": "1", "b": "2", "c": "1", "d": "1", "e": "2"}) == {
        "g": ["1", "2"]
    }
    assert straddling(group_of, {"a": "1", "c": "1"}) == {}
    assert mixing(group_of, {"a": "x", "b": "x", "c": "x", "d": "y"}) == ["h"]


def test_large_and_mixed_groups_are_doubtful() -> None:
    group_of = {**dict.fromkeys("abc", "g"), "d": "h", "e": "h"}
    doubts = over_inclusive(group_of, {"site": {"d": "1", "e": "2"}}, slides=250)
    assert [str(doubt) for doubt in doubts] == [
        "1 groups of more than 1% of all slides (g of 3 slides)",
        "1 groups that mix values of site (h)",
    ]
