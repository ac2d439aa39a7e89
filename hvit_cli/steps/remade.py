"""What a slide's line says of a product that had to be made again: which file, and why."""

from __future__ import annotations

from pathlib import Path

from hvit_cli.storage.work import WorkFolder

REUSED = "reused"
MISSING = "it is missing"
ALTERED = "it is not what was written (checksum)"


def made_again(work: WorkFolder, path: Path, why: str) -> str:
    """The remark, with the file as seen from the work folder."""
    name = path.relative_to(work.path) if path.is_relative_to(work.path) else path
    return f"{name} made again, because {why}"


def remarks(*parts: str) -> str:
    """Several remarks as one, without those that are empty."""
    return "; ".join(part for part in parts if part)


def said_of_parts(remark: str) -> str:
    """A remark about what a product was made from, without its saying that this was there."""
    return remarks(*(part for part in remark.split("; ") if part != REUSED))
