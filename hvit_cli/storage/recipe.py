"""Recipes: everything that decides an output's content, and nothing else.

A recipe is a plain JSON dictionary with two parts. `settings` is the same for every slide of
a run (settings, format and method versions, encoder); `inputs` identifies what this one file
was made from (the slide's fingerprint, the mask's hash). Two files are interchangeable when
their recipes are equal. A recipe holds no time, host, path or process id.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hvit_cli.errors import RecipeError

Recipe = dict[str, Any]


def recipe_of(*, settings: dict[str, Any], inputs: dict[str, Any]) -> Recipe:
    """A recipe from its two parts, reduced to what survives a round trip through JSON."""
    plain: Recipe = json.loads(json.dumps({"settings": settings, "inputs": inputs}))
    return plain


def recipe_text(recipe: Recipe) -> str:
    """The recipe as one canonical line of JSON."""
    return json.dumps(recipe, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def recipe8(settings: dict[str, Any]) -> str:
    """Eight hexadecimal digits that stand for the settings part of a recipe."""
    return hashlib.sha256(recipe_text(settings).encode()).hexdigest()[:8]


def differences(found: Recipe, wanted: Recipe) -> list[str]:
    """The fields in which two recipes differ, as "field: found → wanted" lines, sorted."""
    found_fields = dict(flattened(found))
    wanted_fields = dict(flattened(wanted))
    absent = "(absent)"
    return [
        f"{field}: {found_fields.get(field, absent)} → {wanted_fields.get(field, absent)}"
        for field in sorted(found_fields.keys() | wanted_fields.keys())
        if found_fields.get(field, absent) != wanted_fields.get(field, absent)
    ]


def require_same_recipe(path: Path, found: Recipe, wanted: Recipe) -> None:
    """Refuses a file of ours that other settings or another input made.

    Raises:
        RecipeError: The recipes differ; the message lists every differing field.
    """
    differing = differences(found, wanted)
    if differing:
        raise RecipeError(
            "this file was made with other settings or from another slide",
            where=path,
            found="; ".join(differing),
            hint="--overwrite, another work folder with -w, or the settings it was made with",
        )


def flattened(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every field of a recipe as "outer.inner" with its value, in the order of the recipe."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from flattened(inner, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, value
