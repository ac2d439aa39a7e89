from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from hvit_cli.pretraining import watch


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def test_the_rank_of_equal_singular_values_is_their_number() -> None:
    basis = torch.linalg.qr(drawn(40, 40)).Q
    for rank in (1, 3, 12):
        features = basis[:, :rank] @ torch.linalg.qr(drawn(20, 20)).Q[:rank]
        assert watch.effective_rank(features) == pytest.approx(rank, rel=1e-3)


def test_the_rank_of_two_unequal_singular_values_is_exp_of_their_entropy() -> None:
    features = torch.zeros(6, 4)
    features[0, 0], features[1, 1] = 3.0, 1.0
    wanted = math.exp(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))
    assert watch.effective_rank(features) == pytest.approx(wanted)


def test_the_deviation_is_1_for_directions_anywhere_and_0_for_one() -> None:
    assert watch.feature_sd(drawn(2000, 64)) == pytest.approx(1, abs=0.01)
    assert watch.feature_sd(drawn(1, 64).expand(50, -1) * drawn(50, 1).abs()) < 1e-6


def test_information_is_what_tells_crops_apart() -> None:
    four = torch.eye(4).repeat(5, 1)
    assert watch.information(four.sum(0), 0.0) == pytest.approx(math.log(4))
    same = torch.tensor([[0.7, 0.2, 0.1]]).expand(9, -1)
    entropy = -sum(p * math.log(p) for p in (0.7, 0.2, 0.1))
    assert watch.information(same.sum(0), entropy) == pytest.approx(0, abs=1e-6)


def sounded(**changes: object) -> str:
    healthy = {
        "entropy": 3.0, "outputs": 65536, "information": 2.0, "rank": 40.0, "sd": 0.5,
        "warmed_up": True,
    }  # fmt: skip
    return watch.alarm(**{**healthy, **changes})  # type: ignore[arg-type]


def test_no_alarm_while_patches_are_told_apart() -> None:
    assert sounded() == ""
    assert sounded(entropy=0.1) == ""  # sure of each patch, and of each another thing
    assert sounded(entropy=11.0, information=0.05) == ""


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"entropy": 11.08, "information": 1e-4}, "all outputs of the teacher have become alike"),
        ({"entropy": 0.01, "information": 1e-4}, "one output of the teacher has taken everything"),
        ({"information": 1e-4}, "the teacher says the same of all patches"),
        ({"rank": 1.01}, "the teacher says the same of all patches"),
        ({"sd": 1e-3}, "the teacher says the same of all patches"),
    ],
)
def test_each_kind_of_collapse_has_its_sentence(changes: dict[str, float], sentence: str) -> None:
    said = sounded(**changes)
    assert said.startswith(f"collapse: {sentence}")
    assert "try a lower --learning-rate" in said


def test_a_teacher_without_an_opinion_is_expected_in_the_warm_up_only() -> None:
    silent = {"entropy": 11.09, "information": 0.0}
    assert sounded(**silent, warmed_up=False) == ""
    assert sounded(**silent)
    assert sounded(**silent, rank=1.0, warmed_up=False)
