from __future__ import annotations

import inspect
import pickle
import re

import pytest

from hvit_cli import errors
from hvit_cli.errors import HvitError, SlideError

TREE = {
    name: kind
    for name, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, HvitError)
}


def test_the_message_is_one_line_that_says_what_where_found_wanted_and_what_to_try() -> None:
    error = SlideError("too\ncoarse", where="a[b].svs", found=2, wanted=1, hint="--spacing 2")
    assert str(error) == "a[b].svs: too coarse; found 2; wanted 1; try --spacing 2"


@pytest.mark.parametrize("kind", TREE.values())
def test_errors_survive_the_way_between_processes(kind: type[HvitError]) -> None:
    error = pickle.loads(pickle.dumps(kind("x", where="y", hint="z")))
    assert type(error) is kind
    assert (str(error), error.where, error.hint) == ("y: x; try z", "y", "z")


def test_the_drawing_names_every_error_with_its_exit_code() -> None:
    drawn = dict(re.findall(r"(\w+Error)\s+(\d+)", errors.__doc__ or ""))
    assert {name: str(kind.exit_code) for name, kind in TREE.items()} == drawn
