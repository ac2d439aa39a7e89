from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from hvit_cli.errors import RecipeError
from hvit_cli.storage.recipe import differences, recipe8, recipe_of, require_same_recipe


def test_the_eight_digits_are_those_of_the_canonical_json() -> None:
    canonical = b'{"a":[1,2],"b":0.5}'
    assert recipe8({"b": 0.5, "a": (1, 2)}) == hashlib.sha256(canonical).hexdigest()[:8]


def test_a_recipe_survives_json_so_tuples_equal_lists() -> None:
    assert recipe_of(settings={"v": (1, 2)}, inputs={}) == recipe_of(
        settings={"v": [1, 2]}, inputs={}
    )


def test_differences_name_the_nested_field_and_both_values() -> None:
    found = {"settings": {"tile": {"region_px": 2048, "grid": "islands"}}}
    wanted = {"settings": {"tile": {"region_px": 4096, "grid": "islands"}, "new": 1}}
    assert differences(found, wanted) == [
        "settings.new: (absent) → 1",
        "settings.tile.region_px: 2048 → 4096",
    ]
    assert differences(found, found) == []


def test_another_recipe_is_refused_with_every_differing_field() -> None:
    with pytest.raises(RecipeError) as caught:
        require_same_recipe(Path("a.h5"), {"a": 1, "b": 1}, {"a": 2, "b": 3})
    assert "a: 1 → 2; b: 1 → 3" in str(caught.value)
    assert "--overwrite" in str(caught.value)
