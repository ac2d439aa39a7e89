from __future__ import annotations

from types import SimpleNamespace

import pytest

from hvit_cli.cli.several import spread

TRAIN = [
    SimpleNamespace(multiple=True, opts=["--attention"]),
    SimpleNamespace(multiple=True, opts=["--fold"]),
    SimpleNamespace(multiple=False, opts=["--seeds"]),
]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("F L --attention masked plain --seeds 3",
         "F L --attention masked --attention plain --seeds 3"),
        ("--fold 0 1 4 F L", "--fold 0 --fold 1 --fold 4 F L"),
        ("--attention masked F L", "--attention masked F L"),
        ("--attention masked F plain", "--attention masked F plain"),
        ("--fold first 1", "--fold first --fold 1"),
        ("--seeds 3 4", "--seeds 3 4"),
        ("F --attention", "F --attention"),
    ],
)  # fmt: skip
def test_values_after_one_name(typed: str, meant: str) -> None:
    assert spread(typed.split(), TRAIN) == meant.split()


def test_a_command_whose_option_takes_one_value_is_left_alone() -> None:
    single = [SimpleNamespace(multiple=False, opts=["--fold"])]
    assert spread(["--fold", "0", "1"], single) == ["--fold", "0", "1"]
