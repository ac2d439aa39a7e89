"""The loss against the formula of the paper, pair by pair, in numpy and float64."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch

from hvit_cli.pretraining.loss import (
    cross_entropy_sum,
    entropy_sum,
    moved_centre,
    teacher_distribution,
)

Array = npt.NDArray[np.float64]


def softmax(logits: Array) -> Array:
    e = np.exp(logits - logits.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def drawn(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).standard_normal(shape)


def paper(
    student: Array, teacher: Array, centre: Array, large: int, crops: int, ts: float, tt: float
) -> float:
    """Mean over patches and pairs of H(q, p), each crop of the student but the same one."""
    patches = len(teacher) // large
    total, pairs = 0.0, 0
    for t in range(large):
        for s in range(crops):
            if s == t:
                continue
            pairs += 1
            for i in range(patches):
                q = softmax((teacher[t * patches + i] - centre) / tt)
                p = softmax(student[s * patches + i] / ts)
                total -= float((q * np.log(p)).sum()) / patches
    return total / pairs


@pytest.mark.parametrize(("large", "crops"), [(2, 2), (2, 5), (3, 4)])
def test_the_loss_is_the_papers_over_all_pairs_but_the_same_crop(large: int, crops: int) -> None:
    student, teacher, centre = drawn(1, crops * 4, 11), drawn(2, large * 4, 11), drawn(3, 11)
    said = teacher_distribution(torch.from_numpy(teacher), torch.from_numpy(centre), 0.04)
    found = cross_entropy_sum(torch.from_numpy(student), said, crops, 0.1) / 4
    assert float(found) == pytest.approx(paper(student, teacher, centre, large, crops, 0.1, 0.04))


def test_the_loss_has_the_gradient_of_the_formula() -> None:
    """By central differences of the formula, at a few outputs of a large and a small crop."""
    student, teacher, centre = drawn(4, 4 * 2, 6), drawn(5, 2 * 2, 6), drawn(6, 6)
    tensor = torch.from_numpy(student).requires_grad_()
    said = teacher_distribution(torch.from_numpy(teacher), torch.from_numpy(centre), 0.5)
    (gradient,) = torch.autograd.grad(cross_entropy_sum(tensor, said, 4, 0.7) / 2, tensor)
    for row, column in ((0, 0), (3, 5), (6, 2)):
        values = []
        for change in (-1e-4, 1e-4):
            moved = student.copy()
            moved[row, column] += change
            values.append(paper(moved, teacher, centre, 2, 4, 0.7, 0.5))
        slope = (values[1] - values[0]) / 2e-4
        assert float(gradient[row, column]) == pytest.approx(slope, abs=1e-5)


def test_the_teacher_has_no_gradient_and_its_rows_sum_to_1() -> None:
    outputs = torch.randn(6, 9, generator=torch.Generator().manual_seed(1), requires_grad=True)
    said = teacher_distribution(outputs.bfloat16(), torch.zeros(9), 0.04)
    assert said.dtype == torch.float32
    assert not said.requires_grad
    torch.testing.assert_close(said.sum(-1), torch.ones(6))


def test_the_entropy_is_that_of_each_row_and_of_one_output_0() -> None:
    even, sure = np.full(8, 1 / 8), np.eye(8)[3]
    said = torch.from_numpy(np.stack([even, sure, even]))
    assert float(entropy_sum(said)) == pytest.approx(2 * np.log(8))


def test_a_loss_of_bfloat16_outputs_is_added_up_in_float32() -> None:
    student = torch.from_numpy(drawn(7, 10 * 2, 4096)).bfloat16()
    said = teacher_distribution(student[:4], torch.zeros(4096), 0.04)
    found = float(cross_entropy_sum(student, said, 10, 0.1))
    exact = float(cross_entropy_sum(student.double(), said.double(), 10, 0.1))
    assert found == pytest.approx(exact, rel=1e-5)


def test_the_centre_after_many_steps_is_the_geometrically_weighted_sum_of_what_came() -> None:
    outputs = drawn(8, 5, 3)
    centre = torch.zeros(3, dtype=torch.float64)
    for mean in outputs:
        centre = moved_centre(centre, torch.from_numpy(mean), 0.9)
    weights = 0.1 * 0.9 ** np.arange(4, -1, -1)
    np.testing.assert_allclose(centre.numpy(), weights @ outputs)
