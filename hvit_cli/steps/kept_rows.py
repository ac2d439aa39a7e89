"""Rows of a slide, kept beside the table of all, so that a stopped run goes on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hvit_cli.storage.atomic import write_text


def rows_file(folder: Path, slide_id: str) -> Path:
    """Where the rows of a slide lie."""
    return folder / "slides" / f"{slide_id}.json"


def kept_rows(path: Path, kind: str, recipe: dict[str, Any]) -> list[dict[str, Any]] | None:
    """The rows that were made with this recipe; None where there are none.

    Args:
        path: From `rows_file`.
        kind: What the rows are.
        recipe: Everything that decides them, as values that JSON knows.
    """
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(kept, dict) or kept.get("kind") != kind:
        return None
    # Through JSON, so that tuples equal the lists they were stored as.
    if kept.get("recipe") != json.loads(json.dumps(recipe)):
        return None
    rows: list[dict[str, Any]] = kept["rows"]
    return rows


def keep_rows(
    path: Path, kind: str, recipe: dict[str, Any], rows: Sequence[dict[str, Any]]
) -> None:
    """Writes a slide's rows, whole or not at all."""
    write_text(path, json.dumps({"kind": kind, "recipe": recipe, "rows": list(rows)}) + "\n")
