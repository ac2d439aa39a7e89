from __future__ import annotations

import pytest
import torch

from hvit_cli.errors import ModelError
from hvit_cli.pretraining.memory import says_what_to_lower


def test_a_processor_without_memory_says_what_to_lower() -> None:
    """A real request for 8 EiB, refused by PyTorch's own allocator."""
    with pytest.raises(ModelError) as caught, says_what_to_lower("8 patches"):
        torch.empty(2**61 - 1, dtype=torch.float32)
    said = str(caught.value)
    assert said.startswith("out of memory; found 8 patches; try --checkpointing")
    assert all(option in said for option in ("--batch", "--local-crops", "--precision"))


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory."), MemoryError()])
def test_a_gpu_and_numpy_without_memory_say_the_same(error: Exception) -> None:
    with pytest.raises(ModelError, match="out of memory"), says_what_to_lower("8 patches"):
        raise error


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(RuntimeError, match="mat1 and mat2"), says_what_to_lower("8 patches"):
        torch.ones(2, 3) @ torch.ones(2, 3)
