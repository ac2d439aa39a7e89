"""Options that take several values after one name: `--attention masked plain`, `--fold 0 1`.

Click knows such options only as repeated ones. Before it parses, values that can belong to
nothing else are each given the option's name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

# What may follow the first value of an option.
_VALUES: dict[str, Callable[[str], bool]] = {
    "--attention": ("masked", "plain").__contains__,
    "--baseline": ("colour-histogram", "random").__contains__,
    "--fold": str.isdecimal,
}


def spread(arguments: Sequence[str], parameters: Iterable[Any]) -> list[str]:
    """The arguments with the name of a repeatable option before each of its values.

    Args:
        arguments: What follows the command's name.
        parameters: The command's parameters, as Click knows them.
    """
    repeatable = {name for p in parameters if getattr(p, "multiple", False) for name in p.opts}
    given: list[str] = []
    option, values = "", 0
    for token in arguments:
        if token in repeatable and token in _VALUES:
            option, values = token, 0
        elif option and values and not _VALUES[option](token):
            option = ""
        elif option:
            if values:
                given.append(option)
            values += 1
        given.append(token)
    return given
