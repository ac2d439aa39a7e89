"""What is wrong with a table or a set of slides, gathered first and reported together.

Whoever mends a table of ten thousand rows wants to mend it once. Checks therefore return
problems, and one error names all of them, each with its count and a few examples.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hvit_cli.errors import LabelError

_SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One kind of problem and the rows or slides that have it.

    Attributes:
        what: The problem as a noun phrase without a count, such as "duplicate ids".
        examples: Everything that has it, in the order of the source.
        hint: What mends it, where that is not plain.
    """

    what: str
    examples: tuple[str, ...]
    hint: str | None = None

    def __str__(self) -> str:
        shown = ", ".join(self.examples[:_SHOWN])
        more = ", …" if len(self.examples) > _SHOWN else ""
        hint = f", try {self.hint}" if self.hint else ""
        return f"{len(self.examples)} {self.what} ({shown}{more}{hint})"


def problem(what: str, examples: Iterable[str], hint: str | None = None) -> list[Problem]:
    """A list of one problem, or of none where nothing has it."""
    found = tuple(examples)
    return [Problem(what=what, examples=found, hint=hint)] if found else []


def refuse(what: str, where: object, problems: Sequence[Problem]) -> None:
    """Raises one error that names every problem; nothing where there is none.

    Raises:
        LabelError: There is a problem.
    """
    if problems:
        raise LabelError(what, where=where, found="; ".join(map(str, problems)))
