from __future__ import annotations

from html.parser import HTMLParser

import pytest

from hvit_cli.storage.qc import oddness, overview_page
from hvit_cli.storage.status import StatusRow


def row(name: str = "s", *, stage: str = "tile", **values: object) -> StatusRow:
    defaults: dict[str, object] = {
        "status": "done",
        "tissue_mm2": 4.0,
        "tissue_dropped_mm2": 0.0,
        "n_regions": 5,
        "pen_mm2": 0.0,
    }
    return StatusRow(slide_id=name, path=name, stage=stage, **(defaults | values))


class Page(HTMLParser):
    """Collects what a browser would see of the page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.cards: list[dict[str, str]] = []
        self.links: list[str] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.tags.append(tag)
        if tag == "article":
            self.cards.append(values)
        self.links += [values[name] for name in ("src", "href") if name in values]


def test_an_ordinary_slide_is_not_odd() -> None:
    rows = [row(), row("t"), row("u")]
    assert oddness(rows[0], rows) == 0


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"tissue_mm2": 16.0}, 2.0),
        ({"tissue_mm2": 1.0}, 2.0),
        ({"tissue_dropped_mm2": 1.0}, 1.0),
        ({"pen_mm2": 4.0}, 2.0),
        ({"status": "no_tissue", "tissue_mm2": 0.0}, 5.0),
        ({"status": "failed", "tissue_mm2": None, "tissue_dropped_mm2": None}, 5.0),
    ],
)
def test_oddness_adds_up_as_the_page_says(values: dict[str, object], expected: float) -> None:
    odd = row("odd", **values)
    assert oddness(odd, [row("a"), row("b"), row("c"), odd]) == pytest.approx(expected)


def test_the_oddest_slide_comes_first() -> None:
    page = Page(overview_page([row("a"), row("b", pen_mm2=3.0), row("c")], set()))
    assert [card["data-name"] for card in page.cards] == ["b", "a", "c"]


def test_the_page_needs_nothing_but_the_pictures_beside_it() -> None:
    page = Page(overview_page([row("a"), row("b")], {"a"}))
    assert page.links == ["a.jpg", "a.jpg"]
    assert "http" not in overview_page([row("a")], {"a"})


def test_names_cannot_break_out_of_the_page() -> None:
    name = '<script>alert("1")</script> & \'50% #2?'
    text = overview_page([row(name, reason="<b>bad</b>")], {name})
    page = Page(text)
    assert page.tags.count("script") == 1
    assert page.cards[0]["data-name"] == name
    assert "<b>bad" not in text
    assert "%3Cscript%3E" in page.links[0]
    assert "%23" in page.links[0]
    assert "%3F" in page.links[0]


def test_a_slide_has_one_card_and_the_tiles_speak_first() -> None:
    rows = [
        row("a", stage="segment", n_regions=None),
        row("a", n_regions=7),
        row("b", stage="train"),
    ]
    page = Page(overview_page(rows, set()))
    assert len(page.cards) == 1
    assert page.cards[0]["data-regions"] == "7"


def test_placeholders_in_names_stay_as_they_are() -> None:
    page = Page(overview_page([row("{{cards}}"), row("{{count}}")], set()))
    assert {card["data-name"] for card in page.cards} == {"{{cards}}", "{{count}}"}


def test_a_run_without_slides_has_a_page() -> None:
    assert Page(overview_page([], set())).cards == []
