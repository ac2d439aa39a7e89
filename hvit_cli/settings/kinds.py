"""Choices that several concerns share."""

from __future__ import annotations

from typing import Literal

Attention = Literal["masked", "plain"]
Precision = Literal["auto", "float32", "bfloat16", "float16"]
