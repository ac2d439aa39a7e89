"""HTML that cannot forget to escape: plain text is escaped, elements are passed through.

A name of a slide is text from outside. Everything that is not an `Html` already becomes text.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_VOID = {"img", "br", "meta", "link", "col"}


@dataclass(frozen=True)
class Html:
    """A piece of a page whose text has been escaped.

    Attributes:
        text: The piece.
    """

    text: str

    def __str__(self) -> str:
        return self.text


Content = Html | str | int | float | None
Attributes = Mapping[str, str | int | float | bool | None]


def escaped(content: Content) -> str:
    """A piece as it stands in the page: elements as they are, all else escaped; None is nothing."""
    if content is None:
        return ""
    return content.text if isinstance(content, Html) else html.escape(str(content), quote=True)


def element(name: str, attributes: Attributes | None = None, *contents: Content) -> Html:
    """One element.

    Args:
        name: Its name.
        attributes: True stands alone (`open`), False and None are left out.
        contents: What is inside it.
    """
    said = []
    for key, value in (attributes or {}).items():
        if value is True:
            said.append(f" {key}")
        elif value is not None and value is not False:
            said.append(f' {key}="{html.escape(str(value), quote=True)}"')
    opened = f"<{name}{''.join(said)}>"
    if name in _VOID:
        return Html(opened if not contents else f"{opened}{escaped(joined(contents))}</{name}>")
    return Html(f"{opened}{escaped(joined(contents))}</{name}>")


def joined(contents: Iterable[Content], between: str = "") -> Html:
    """Pieces one behind the other."""
    return Html(between.join(escaped(content) for content in contents if content is not None))
