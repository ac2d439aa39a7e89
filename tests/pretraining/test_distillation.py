from __future__ import annotations

import copy
import dataclasses
import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hvit_cli.errors import ModelError
from hvit_cli.pretraining.distillation import Distillation, clip_each, decay_groups
from hvit_cli.pretraining.networks import new_backbones
from hvit_cli.pretraining.schedules import Schedules
from hvit_cli.pretraining.views import CropBatch


def new_distillation(toy: SimpleNamespace, **changes: Any) -> Distillation:
    settings = dataclasses.replace(toy.SETTINGS, drop_path=0.0, **changes)
    schedules = Schedules(settings=settings, steps_per_epoch=5)
    return Distillation(new_backbones(settings, toy.CROPS), schedules)


def first_batch(toy: SimpleNamespace, step: int = 0) -> CropBatch:
    batch: CropBatch = next(toy.ToySource().batches(range(step, step + 1)))
    return batch


def test_a_step_is_what_its_parts_make_one_after_the_other(toy: SimpleNamespace) -> None:
    """The whole step again in float64: pairs of crops, clip, AdamW, teacher, centre."""
    mine = new_distillation(toy, freeze_last_layer_epochs=0, clip=0.05)
    student = copy.deepcopy(mine.student).double()
    teacher = copy.deepcopy(mine.teacher).double()
    centre = torch.linspace(-0.2, 0.2, 32, dtype=torch.float64)
    mine.centre = centre.float()
    step, batch = 7, first_batch(toy)
    found = mine.step(batch, step)
    schedules = mine.schedules

    large, small = (views.double() for views in batch.views)
    features = teacher[0].eval()(large)
    outputs = teacher[1](features)
    q = F.softmax((outputs - centre) / 0.04, dim=-1).chunk(2)
    student.train()
    said = [*student[1](student[0](large)).chunk(2), *student[1](student[0](small)).chunk(3)]
    terms = [
        -(q[t] * F.log_softmax(said[s] / 0.1, dim=-1)).sum(-1).mean()
        for t in range(2)
        for s in range(5)
        if s != t
    ]
    loss = torch.stack(terms).mean()
    assert found.loss == pytest.approx(loss.item(), rel=1e-5)
    entropy = torch.stack([-(p * p.log()).sum(-1).mean() for p in q]).mean()
    assert found.teacher_entropy == pytest.approx(entropy.item(), rel=1e-4)
    assert found.kl == pytest.approx((loss - entropy).item(), rel=1e-4)
    assert (found.patches, found.step) == (8, 7)
    torch.testing.assert_close(found.features.double(), features[:8], atol=1e-5, rtol=1e-5)

    loss.backward()
    rate, decay = schedules.learning_rate(step), schedules.weight_decay(step)
    with torch.no_grad():
        for (name, p), q0, mine_p in zip(
            student.named_parameters(), teacher.parameters(), mine.teacher.parameters(), strict=True
        ):
            if p.grad is None:
                continue
            gradient = p.grad * min(1.0, 0.05 / (p.grad.norm().item() + 1e-6))
            shrink = 0 if name.endswith(".bias") or p.ndim == 1 else decay
            p.mul_(1 - rate * shrink)
            p.sub_(rate * gradient / (gradient.abs() + 1e-8))  # Adam's first step: the sign
            q0.lerp_(p, 1 - schedules.teacher_momentum(step))
            torch.testing.assert_close(mine_p.double(), q0, atol=3e-5, rtol=1e-4)
    torch.testing.assert_close(mine.centre.double(), centre * 0.9 + outputs.mean(0) * 0.1)


def test_gradients_are_shortened_one_parameter_at_a_time() -> None:
    parameters = [nn.Parameter(torch.zeros(n)) for n in (4, 9, 2)]
    parameters[0].grad = torch.full((4,), 5.0)  # norm 10
    parameters[1].grad = torch.full((9,), 0.5)  # norm 1.5
    clip_each(parameters, 3.0)
    assert parameters[0].grad is not None and parameters[1].grad is not None
    assert float(parameters[0].grad.norm()) == pytest.approx(3.0)
    assert torch.equal(parameters[1].grad, torch.full((9,), 0.5))
    assert parameters[2].grad is None
    clip_each(parameters, 0.0)
    assert float(parameters[0].grad.norm()) == pytest.approx(3.0)


def test_biases_and_norms_do_not_decay(toy: SimpleNamespace) -> None:
    student = new_distillation(toy).student
    names = {id(p): name for name, p in student.named_parameters()}
    decayed, others = ([names[id(p)] for p in group] for group in decay_groups(student))
    assert all(name.endswith("bias") or "norm" in name for name in others)
    assert not any(name.endswith("bias") or "norm" in name for name in decayed)
    assert {"0.cls_token", "0.pos_embed", "1.last_layer.weight_v"} <= set(decayed)
    assert "1.last_layer.weight_g" not in decayed + others


def test_the_last_layer_stays_in_the_first_epoch_and_learns_then(toy: SimpleNamespace) -> None:
    mine = new_distillation(toy)
    head = mine.student[1]
    before = head.last_layer.weight_v.detach().clone()
    mlp = head.mlp[0].weight.detach().clone()
    mine.step(first_batch(toy), 4)
    assert torch.equal(head.last_layer.weight_v, before)
    assert not torch.equal(head.mlp[0].weight, mlp)
    mine.step(first_batch(toy), 5)
    assert not torch.equal(head.last_layer.weight_v, before)
    assert torch.equal(head.last_layer.weight_g, torch.ones(32, 1))


def test_lengths_of_the_last_layer_are_learned_where_asked(toy: SimpleNamespace) -> None:
    mine = new_distillation(toy, norm_last_layer=False)
    mine.step(first_batch(toy), 4)
    assert torch.equal(mine.student[1].last_layer.weight_g, torch.ones(32, 1))
    mine.step(first_batch(toy), 5)
    assert not torch.equal(mine.student[1].last_layer.weight_g, torch.ones(32, 1))


def test_bfloat16_computes_the_loss_in_float32_and_close_to_it(toy: SimpleNamespace) -> None:
    exact = new_distillation(toy).step(first_batch(toy), 0)
    rough = new_distillation(toy, precision="bfloat16").step(first_batch(toy), 0)
    assert rough.loss == pytest.approx(exact.loss, rel=0.02)
    assert rough.loss != exact.loss
    assert rough.features.dtype == torch.float32


def test_a_run_that_diverges_says_so_and_keeps_its_weights(toy: SimpleNamespace) -> None:
    mine = new_distillation(toy)
    batch = first_batch(toy)
    batch.views[0][0, 0, 0, 0] = math.nan  # type: ignore[index]  # a tensor
    before = {name: w.clone() for name, w in mine.student.state_dict().items()}
    with pytest.raises(ModelError, match=r"step 6: pretraining diverged.*--learning-rate"):
        mine.step(batch, 5)
    for name, weight in mine.student.state_dict().items():
        assert torch.equal(weight, before[name])


def test_memory_that_runs_out_names_the_batch_and_what_to_lower(
    toy: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = new_distillation(toy)

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")

    monkeypatch.setattr(mine.backbones.student, "forward", full)
    with pytest.raises(ModelError) as caught:
        mine.step(first_batch(toy), 0)
    assert "found 8 patches of 2 + 3 crops on cpu; try --checkpointing" in str(caught.value)


def test_a_share_of_another_size_is_a_bug_of_the_source(toy: SimpleNamespace) -> None:
    mine = new_distillation(toy, batch=4)
    with pytest.raises(ValueError, match="a share of 8 patches, wanted 4"):
        mine.step(first_batch(toy), 0)
