"""Parts that the report on a slide and the report on a cohort share."""

from __future__ import annotations

from collections.abc import Sequence

from hvit_cli.report.facts import Pairs, Said
from hvit_cli.report.markup import Content, Html, element, joined
from hvit_cli.report.page import NOT_A_DEVICE

_KEYS = {
    "tissue": "outline of the tissue",
    "region": "region that the model looked at",
    "dropped": "tissue in no region: not looked at",
}


def section(title: str, *contents: Content, css_class: str = "") -> Html:
    """A part of the page under its heading."""
    return element(
        "section", {"class": css_class or None}, element("h2", {}, title), joined(contents, "\n")
    )


def heading(kind: str, name: str, below: str) -> Html:
    """The top of a page."""
    return element(
        "header",
        {},
        element("p", {"class": "kind"}, kind),
        element("h1", {}, name),
        element("p", {"class": "faint"}, below),
    )


def warnings(sentences: Sequence[str]) -> Html:
    """What must be seen before any grade; that this is no device is always among it."""
    said = [NOT_A_DEVICE, *sentences]
    return element(
        "div",
        {"class": "notice", "role": "note"},
        element("ul", {}, *(element("li", {}, sentence) for sentence in said)),
    )


def pairs(what: Pairs, css_class: str = "facts") -> Html:
    """Names and what they are, as a list."""
    return element(
        "dl",
        {"class": css_class},
        *(
            element("div", {}, element("dt", {}, name), element("dd", {}, value))
            for name, value in what
        ),
    )


def keys(marks: Sequence[str]) -> Html:
    """What the marks of an overview mean."""
    return element(
        "p",
        {"class": "keys"},
        *(
            element(
                "span",
                {},
                element("i", {"class": f"key {mark}", "aria-hidden": "true"}, ""),
                _KEYS[mark],
            )
            for mark in marks
        ),
    )


def methods(paragraphs: Sequence[str]) -> Html:
    """What was done, in sentences that can be copied."""
    return section("Methods", *(element("p", {}, text) for text in paragraphs), css_class="methods")


def recipe(what: Pairs) -> Html:
    """Every setting and input, folded until it is wanted or printed."""
    return section(
        "Recipe",
        element(
            "details",
            {},
            element("summary", {}, f"Everything that decided this result: {len(what)} entries"),
            pairs(what, "recipe"),
        ),
    )


def spread(said: Said) -> str:
    """A score with its spread over the members."""
    if said.score_sd is None:
        return f"{said.score:.2f}".replace("-", "−")
    return f"{said.score:.2f} ± {said.score_sd:.2f}".replace("-", "−")
