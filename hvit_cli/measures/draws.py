"""Random draws that differ between slides, and not with the run in which a slide is met."""

from __future__ import annotations

import zlib


def drawn_for(slide_id: str) -> int:
    """A number for a slide's draws, the same in whatever run and order it is measured."""
    return zlib.crc32(slide_id.encode())
