from __future__ import annotations

import pytest
import torch

from hvit_cli.errors import UsageError
from hvit_cli.models.device import choose_device, choose_precision


def test_auto_takes_what_is_there() -> None:
    expected = "cpu"
    if torch.backends.mps.is_available():
        expected = "mps"
    if torch.cuda.is_available():
        expected = "cuda"
    assert choose_device("auto").type == expected
    assert choose_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["cuda:99", "tpu", ""])
def test_a_device_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="wanted auto or one of cpu"):
        choose_device(name)


def test_auto_precision_is_bfloat16_on_cuda_only() -> None:
    assert choose_precision("auto", torch.device("cuda")) == "bfloat16"
    assert choose_precision("auto", torch.device("cpu")) == "float32"
    assert choose_precision("float16", torch.device("cuda")) == "float16"
    assert choose_precision("bfloat16", torch.device("cpu")) == "bfloat16"
    with pytest.raises(UsageError, match="needs a GPU"):
        choose_precision("float16", torch.device("cpu"))
