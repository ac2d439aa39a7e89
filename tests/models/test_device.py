from __future__ import annotations

import pytest
import torch

from hvit_cli.errors import UsageError
from hvit_cli.models.device import choose_device, choose_precision


def test_the_processor_is_always_there() -> None:
    assert choose_device("cpu") == torch.device("cpu")


def test_auto_is_a_device_that_can_be_used() -> None:
    assert torch.ones(2, device=choose_device("auto")).sum().item() == 2


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "meta", ""])
def test_a_device_that_is_not_there_is_one_line(name: str) -> None:
    with pytest.raises(UsageError, match="--device"):
        choose_device(name)


def test_auto_precision_is_float32_on_the_processor_and_bfloat16_on_cuda() -> None:
    assert choose_precision("auto", torch.device("cpu")) == torch.float32
    assert choose_precision("auto", torch.device("cuda")) == torch.bfloat16


def test_float16_is_refused_on_the_processor() -> None:
    with pytest.raises(UsageError, match="needs a GPU"):
        choose_precision("float16", torch.device("cpu"))
    assert choose_precision("float16", torch.device("cuda")) == torch.float16
