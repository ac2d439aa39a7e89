"""Who wants to know how far a slide is."""

from __future__ import annotations

from collections.abc import Callable

Watch = Callable[[str, int, int], None]
"""Told a slide's name, its patches that are embedded, and all that are to be."""


def unwatched(slide_id: str, done: int, total: int) -> None:
    """For whom nobody watches."""
