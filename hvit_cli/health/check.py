"""One thing that was looked at: how it is, and what to do where it is not well."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["fine", "beware", "broken"]


@dataclass(frozen=True, kw_only=True)
class Check:
    """What one look showed.

    Attributes:
        name: What was looked at.
        state: fine; beware where work is possible and something should be known; broken where
            some work cannot be done.
        found: What was seen, one line.
        hint: What to do; "" where nothing is to be done.
    """

    name: str
    state: State
    found: str
    hint: str = ""
