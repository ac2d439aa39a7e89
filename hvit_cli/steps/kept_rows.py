"""Rows of a slide, kept beside the table of all, so that a stopped run goes on."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hvit_cli.storage.atomic import write_text

_LOG = logging.getLogger(__name__)


def rows_file(folder: Path, slide_id: str) -> Path:
    """Where the rows of a slide lie."""
    return folder / "slides" / f"{slide_id}.json"


def kept_rows(path: Path, kind: str, recipe: dict[str, Any]) -> list[dict[str, Any]] | None:
    """The rows that were made with this recipe; None where there are none, or altered ones.

    Args:
        path: From `rows_file`.
        kind: What the rows are.
        recipe: Everything that decides them, as values that JSON knows.
    """
    try:
        content = path.read_bytes()
    except OSError:
        return None
    try:
        kept = json.loads(content)
    except (ValueError, RecursionError):
        kept = None
    if not isinstance(kept, dict) or kept.pop("sha256", None) != _sha256(kept):
        _LOG.warning("%s is made again, because it is not what was written (checksum)", path)
        return None
    # Through JSON, so that tuples equal the lists they were stored as.
    if kept["kind"] != kind or kept["recipe"] != json.loads(json.dumps(recipe)):
        return None
    rows: list[dict[str, Any]] = kept["rows"]
    return rows


def keep_rows(
    path: Path, kind: str, recipe: dict[str, Any], rows: Sequence[dict[str, Any]]
) -> None:
    """Writes a slide's rows, whole or not at all."""
    kept = json.loads(json.dumps({"kind": kind, "recipe": recipe, "rows": list(rows)}))
    write_text(path, _text(kept | {"sha256": _sha256(kept)}) + "\n")


def _text(kept: dict[str, Any]) -> str:
    # A recipe that was read from a file has another order than one that was just made.
    return json.dumps(kept, sort_keys=True)


def _sha256(kept: dict[str, Any]) -> str:
    return hashlib.sha256(_text(kept).encode()).hexdigest()
