"""Settings as plain values and back, and the sentences under their fields."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import sys
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from hvit_cli.errors import SettingsError

S = TypeVar("S")


def as_recipe(settings: Any) -> dict[str, Any]:
    """A settings instance as plain JSON values, paths as text, for storing beside outputs."""
    plain: dict[str, Any] = {}
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if isinstance(value, Path):
            value = str(value)
        elif isinstance(value, tuple):
            value = list(value)
        plain[field.name] = value
    return plain


def from_recipe(kind: type[S], recipe: dict[str, Any]) -> S:
    """The settings that `as_recipe` made, checked again.

    Raises:
        SettingsError: An entry is unknown or out of range.
    """
    # Every settings class is a dataclass, which its type alone does not say.
    known = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(recipe) - set(known))
    if unknown:
        raise SettingsError(f"{kind.__name__} has no such setting", found=", ".join(unknown))
    values: dict[str, Any] = {}
    for name, value in recipe.items():
        if isinstance(value, list):
            value = tuple(value)
        elif isinstance(value, str) and "Path" in str(known[name].type):
            value = Path(value)
        values[name] = value
    try:
        return kind(**values)
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        # What a description from elsewhere holds may be of any type.
        raise SettingsError(f"{kind.__name__} cannot hold these values", found=recipe) from error


@cache
def _classes(module: str) -> dict[str, ast.ClassDef]:
    # A module is parsed once for all of its classes; `inspect` would parse it for each.
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}


@cache
def _sentences(kind: type) -> dict[str, str]:
    declaration = _classes(kind.__module__)[kind.__name__]
    found = {}
    for field, text in zip(declaration.body, declaration.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
        ):
            found[field.target.id] = str(text.value.value)
    return found


def sentence(kind: type, field: str) -> str:
    """The sentence written under a field of a settings class."""
    return _sentences(kind)[field]
