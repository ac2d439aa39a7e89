from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hvit_cli.errors import ModelError
from hvit_cli.models.bags import PatchBag, buckets, pack


def bag(rows: list[tuple[int, int]], regions: int) -> PatchBag:
    index = torch.tensor(rows, dtype=torch.long).reshape(-1, 2)
    return PatchBag(
        features=torch.arange(len(rows), dtype=torch.float32)[:, None],
        region_index=index[:, 0],
        patch_index=index[:, 1],
        regions=regions,
    )


@given(
    counts=st.lists(st.lists(st.integers(0, 16), min_size=1, max_size=6), min_size=1, max_size=4),
    shuffle=st.randoms(use_true_random=False),
)
def test_every_row_and_every_region_is_in_exactly_one_bucket(
    counts: list[list[int]], shuffle: object
) -> None:
    bags = []
    for slide in counts:
        rows = [(m, k) for m, count in enumerate(slide) for k in range(count)]
        shuffle.shuffle(rows)  # type: ignore[attr-defined]
        bags.append(bag(rows, len(slide)))
    packed = pack(bags)
    regions, rows = [], []
    for bucket in buckets(packed, 16):
        regions += bucket.regions.tolist()
        visible = (
            torch.ones_like(bucket.rows, dtype=torch.bool)
            if bucket.visible is None
            else bucket.visible
        )
        for region, row, seen in zip(bucket.regions, bucket.rows, visible, strict=True):
            assert (packed.region_index[row[seen]] == region).all()
            rows += row[seen].tolist()
        assert visible.sum(1).min() > visible.shape[1] - 8  # padding stays below one step
    assert sorted(regions) == list(range(sum(map(len, counts))))
    assert sorted(rows) == list(range(sum(map(sum, counts))))


@pytest.mark.parametrize(
    ("rows", "regions", "message"),
    [
        ([(0, 0)], 0, "without any region"),
        ([(2, 0)], 2, "found regions 2 to 2, patches from 0; wanted regions 0 to 1"),
        ([(-1, 0)], 2, "found regions -1 to -1"),
        ([(0, -1)], 2, "patches from -1"),
    ],
)
def test_rows_without_a_region_are_refused(
    rows: list[tuple[int, int]], regions: int, message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        bag(rows, regions)


def test_arrays_of_different_length_are_refused() -> None:
    with pytest.raises(ModelError, match=r"features \(3, 2\), region_index \(2,\)"):
        PatchBag(
            features=torch.zeros(3, 2),
            region_index=torch.zeros(2, dtype=torch.long),
            patch_index=torch.zeros(3, dtype=torch.long),
            regions=1,
        )
