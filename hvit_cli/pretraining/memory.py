"""What to do when a network and its batch do not fit into memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from hvit_cli.errors import ModelError

# How PyTorch words it on a processor, where it has no class of its own.
_WORDS = ("can't allocate memory", "DefaultCPUAllocator", "not enough memory")


@contextmanager
def says_what_to_lower(what: str) -> Iterator[None]:
    """Turns running out of memory inside the block into one line for the user.

    Args:
        what: What was being computed, and of what size.

    Raises:
        ModelError: Memory ran out; names the settings that need less.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        # torch.OutOfMemoryError is a RuntimeError.
        if isinstance(error, RuntimeError) and not _is_about_memory(error):
            raise
        raise ModelError(
            "out of memory",
            found=what,
            hint="--checkpointing, a lower --batch, fewer --local-crops, a lower --out-dim "
            "or --precision bfloat16",
        ) from error


def _is_about_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or any(word in str(error) for word in _WORDS)
