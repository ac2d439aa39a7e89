from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from hvit_cli.errors import UsageError
from hvit_cli.models import device as devices
from hvit_cli.models.device import (
    choose_device,
    choose_learning_precision,
    choose_precision,
    processor_multiplies_bfloat16,
)
from hvit_cli.settings import Precision


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


@pytest.mark.parametrize(
    ("device", "multiplies", "embeds", "learns"),
    [
        ("cuda", False, "bfloat16", "bfloat16"),
        ("mps", True, "float32", "float32"),
        ("cpu", True, "bfloat16", "float32"),
        ("cpu", False, "float32", "float32"),
    ],
)
def test_auto_precision_is_bfloat16_where_the_hardware_multiplies_it(
    device: str, multiplies: bool, embeds: str, learns: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "processor_multiplies_bfloat16", lambda: multiplies)
    assert choose_precision("auto", torch.device(device)) == embeds
    assert choose_learning_precision("auto", torch.device(device)) == learns


@pytest.mark.parametrize("choose", [choose_precision, choose_learning_precision])
def test_a_precision_that_is_asked_for_is_taken_or_refused(
    choose: Callable[[Precision, torch.device], Precision],
) -> None:
    assert choose("float16", torch.device("cuda")) == "float16"
    assert choose("bfloat16", torch.device("cpu")) == "bfloat16"
    assert choose("float32", torch.device("cpu")) == "float32"
    with pytest.raises(UsageError, match="needs a GPU"):
        choose("float16", torch.device("cpu"))


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="Linux says it in /proc/cpuinfo")
def test_what_the_processor_multiplies_is_what_the_system_says_of_it() -> None:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    flags = {flag for line in lines if line.startswith("flags") for flag in line.split()}
    assert processor_multiplies_bfloat16() == bool(flags & {"avx512_bf16", "amx_tile"})


def test_without_onednn_a_processor_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert not processor_multiplies_bfloat16()
