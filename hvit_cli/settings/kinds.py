"""Choices that several concerns share."""

from __future__ import annotations

from typing import Literal

Attention = Literal["masked", "plain"]
MaskLevel = Literal["region", "patch", "both"]
Precision = Literal["auto", "float32", "bfloat16", "float16"]
