from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

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
    """Collects what a browser would see of the page before its script runs, and the slides."""

    def __init__(self, text: str) -> None:
        super().__init__()
        found = re.search(r"^const slides = (\[\n.*?\n\]);$", text, re.MULTILINE | re.DOTALL)
        assert found is not None
        self.slides: list[dict[str, Any]] = json.loads(found[1])
        self.links: list[str] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.tags.append(tag)
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
    assert [slide["name"] for slide in page.slides] == ["b", "a", "c"]


def test_the_page_needs_nothing_but_the_pictures_beside_it() -> None:
    page = Page(overview_page([row("a"), row("b")], {"a"}))
    assert page.links == []
    assert [slide.get("picture") for slide in page.slides] == ["a.jpg", None]
    assert "http" not in overview_page([row("a")], {"a"})


def test_names_cannot_break_out_of_the_page() -> None:
    name = '<script>alert("1")</script> & \'50% #2?'
    text = overview_page([row(name, reason="<b>bad</b>")], {name})
    page = Page(text)
    assert page.tags.count("script") == 1
    assert page.slides[0]["name"] == name
    assert "<b>bad" not in text
    assert "%3Cscript%3E" in page.slides[0]["picture"]
    assert "%23" in page.slides[0]["picture"]
    assert "%3F" in page.slides[0]["picture"]


def test_a_slide_has_one_card_and_the_tiles_speak_first() -> None:
    rows = [
        row("a", stage="segment", n_regions=None),
        row("a", n_regions=7),
        row("b", stage="train"),
    ]
    page = Page(overview_page(rows, set()))
    assert len(page.slides) == 1
    assert page.slides[0]["regions"] == 7


def test_placeholders_in_names_stay_as_they_are() -> None:
    page = Page(overview_page([row("{{slides}}"), row("{{count}}")], set()))
    assert {slide["name"] for slide in page.slides} == {"{{slides}}", "{{count}}"}


def test_a_run_without_slides_has_a_page() -> None:
    assert Page(overview_page([], set())).slides == []


@pytest.fixture
def shown(browser: Any, browsing: SimpleNamespace, tmp_path: Path) -> Iterator[Any]:
    """A browser at the page of 650 slides, of which one failed and one has a nasty name."""
    rows = [row(f"s{number:03d}", tissue_mm2=4.0 + number / 1000) for number in range(648)]
    rows += [row("bad", status="failed", tissue_mm2=None, reason="<b>torn</b>")]
    rows += [row("<img src=x onerror=alert(1)>", pen_mm2=8.0)]
    page = tmp_path / "index.html"
    page.write_text(overview_page(rows, set()), encoding="utf-8")
    browser.get(page.as_uri())
    yield browser
    assert browsing.complaints(browser) == []


def names(browser: Any) -> list[str]:
    return [name.text for name in browser.find_elements("css selector", "article b")]


def press(browser: Any, button: str) -> None:
    browser.find_element("id", button).click()


@pytest.mark.browser
def test_three_hundred_slides_are_shown_at_a_time_and_ticks_stay(shown: Any) -> None:
    first = names(shown)
    assert first[:2] == ["bad", "<img src=x onerror=alert(1)>"]
    assert len(first) == 300
    assert "<b>torn</b>" in shown.find_element("css selector", "article p + label + p").text
    shown.find_element("css selector", "article input").click()
    assert not shown.find_element("id", "before").is_enabled()
    press(shown, "after")
    assert shown.find_element("id", "where").text == "301 to 600 of 650"
    shown.find_elements("css selector", "article input")[7].click()
    second = names(shown)
    press(shown, "after")
    assert len(first + second + names(shown)) == len({*first, *second, *names(shown)}) == 650
    assert not shown.find_element("id", "after").is_enabled()
    assert shown.find_element("id", "ticked").text == "2 ticked"
    press(shown, "before")
    press(shown, "before")
    boxes = shown.find_elements("css selector", "article input")
    assert [box.is_selected() for box in boxes] == [True] + [False] * 299


@pytest.mark.browser
def test_the_order_is_that_of_all_slides(shown: Any) -> None:
    shown.execute_script("order.value = 'tissue'; order.onchange();")
    assert names(shown)[:2] == ["s647", "s646"]
    press(shown, "ascending")
    assert names(shown)[0] == "bad"
    assert "s000" in names(shown)[:3]
    shown.execute_script("URL.createObjectURL = blob => { window.saved = blob; return '#'; };")
    shown.find_element("css selector", "article input").click()
    press(shown, "save")
    text = shown.execute_async_script("saved.text().then(arguments[arguments.length - 1]);")
    assert text == 'slide_id\n"bad"\n'


def test_the_page_of_a_run_that_was_interrupted_is_that_of_one_that_was_not() -> None:
    once, again = (overview_page([row(reason=reason)], {"s"}) for reason in ("", "reused"))
    assert again == once
    assert "mask made again" in overview_page([row(reason="mask made again")], {"s"})
