from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hvit_cli.health.networks import check_devices, check_masked_attention
from hvit_cli.models.aggregator import Aggregator, DenseOutput


def test_networks_compute_here_and_the_random_state_is_left_alone() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    checks = [*check_devices(), check_masked_attention()]
    assert {check.state for check in checks} == {"fine"}, checks
    assert checks[0].name.startswith("cpu")
    assert torch.equal(torch.get_rng_state(), before)


def test_a_mask_that_does_not_mask_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Aggregator.forward_dense

    def unmasked(self: Aggregator, features: Tensor, visible: Tensor | None = None) -> DenseOutput:
        return real(self, torch.nan_to_num(features), None)

    monkeypatch.setattr(Aggregator, "forward_dense", unmasked)
    check = check_masked_attention()
    assert check.state == "broken"
    assert "attention to glass" in check.found
