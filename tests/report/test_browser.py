"""The pages in a real browser: sorting by mouse and keys, paper, and a quiet console."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hvit_cli.report.cohort_page import cohort_page
from hvit_cli.report.facts import CohortReport, SlideReport
from hvit_cli.report.slide_page import slide_page

pytestmark = pytest.mark.browser
NASTY = "<script>alert('x')</script> & \"quoted\""
Open = Callable[[str], Any]


@pytest.fixture
def show(browser: Any, browsing: SimpleNamespace, tmp_path: Path) -> Iterator[Open]:
    def show_page(text: str) -> Any:
        file = tmp_path / "page.html"
        file.write_text(text, encoding="utf-8")
        browser.get(file.as_uri())
        return browser

    yield show_page
    # Neither an error nor a refusal by the page's own policy, and nothing asked for.
    assert browsing.complaints(browser) == []
    assert [one for one in browsing.requested(browser) if not one.startswith("data:")] == []


def column(browser: Any, name: str) -> list[str]:
    return list(
        browser.execute_script(
            "const t = document.querySelector('table.sortable');"
            "const k = [...t.tHead.rows[0].cells].findIndex(c => c.innerText.trim() === "
            "arguments[0]);"
            "return [...t.tBodies[0].rows].map(r => r.cells[k].innerText)",
            name,
        )
    )


def heading(browser: Any, name: str) -> Any:
    return next(
        b for b in browser.find_elements("css selector", "th button") if b.text.strip() == name
    )


def order(browser: Any, name: str) -> str | None:
    found = heading(browser, name).find_element("xpath", "..").get_attribute("aria-sort")
    return None if found is None else str(found)


def test_headings_sort_by_number_name_and_error(
    show: Open, cohort_report: Callable[..., CohortReport]
) -> None:
    browser = show(cohort_page(cohort_report(), version="9.9"))
    assert order(browser, "error") == "descending"
    assert column(browser, "error") == ["−3.60", "+0.90", "+0.10", "–"]
    heading(browser, "error").click()
    assert order(browser, "error") == "ascending"
    assert column(browser, "error") == ["+0.10", "+0.90", "−3.60", "–"]
    heading(browser, "tissue mm²").click()
    assert order(browser, "error") is None
    assert order(browser, "tissue mm²") == "descending"
    # As numbers: as text, 9.50 would come before 11.25.
    assert column(browser, "tissue mm²") == ["11.25", "9.50", "0.75", "–"]
    heading(browser, "tissue mm²").click()
    assert column(browser, "tissue mm²") == ["0.75", "9.50", "11.25", "–"]
    heading(browser, "slide").click()
    assert column(browser, "slide") == [NASTY, "glass", "slide_9", "slide_10"]
    spoken = browser.find_element("css selector", "[aria-live]").get_attribute("textContent")
    assert spoken == "Sorted by slide, ascending."


def test_the_table_is_sorted_with_keys_alone(
    show: Open, cohort_report: Callable[..., CohortReport]
) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    browser = show(cohort_page(cohort_report(), version="9.9"))
    tab, enter, space = "\ue004", "\ue007", " "
    ActionChains(browser).send_keys(tab).send_keys(tab).send_keys(enter).perform()
    assert order(browser, "grade") == "descending"
    ActionChains(browser).send_keys(space).perform()
    assert order(browser, "grade") == "ascending"
    assert column(browser, "grade")[:3] == ["0", "2", "5"]
    outlined = browser.execute_script(
        "return getComputedStyle(document.activeElement).outlineStyle !== 'none'"
    )
    assert outlined


def test_pictures_are_shown_and_names_are_text(
    show: Open, browsing: SimpleNamespace, slide_report: Callable[..., SlideReport]
) -> None:
    browser = show(slide_page(slide_report(), version="9.9"))
    assert browser.find_element("tag name", "h1").text == NASTY
    assert browser.title == f"{NASTY} · hvit report"
    shown = browser.execute_script(
        "return [...document.images].map(i => i.complete && i.naturalWidth)"
    )
    assert len(shown) == 5 and all(shown)
    # Nothing is wider than the page, also on a narrow one.
    fits = "return document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    assert browser.execute_script(fits)
    browsing.resize(browser, (420, 800))
    assert browser.execute_script(fits)
    browsing.resize(browser, browsing.SIZE)


def test_what_is_folded_is_printed(show: Open, slide_report: Callable[..., SlideReport]) -> None:
    browser = show(slide_page(slide_report(), version="9.9"))
    folded = "return document.querySelectorAll('details:not([open])').length"
    assert browser.execute_script(folded) == 1
    browser.execute_script(
        "addEventListener('beforeprint', () => { window.unfolded = "
        "document.querySelectorAll('details[open]').length; })"
    )
    printed = browser.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True})
    assert base64.b64decode(printed["data"]).startswith(b"%PDF")
    assert browser.execute_script("return window.unfolded") == 1
    assert browser.execute_script(folded) == 1


def test_a_script_that_got_into_a_page_would_not_run(
    browser: Any,
    browsing: SimpleNamespace,
    tmp_path: Path,
    slide_report: Callable[..., SlideReport],
) -> None:
    text = slide_page(slide_report(), version="9.9")
    file = tmp_path / "page.html"
    file.write_text(text.replace("</main>", "<script>window.ran = 1</script></main>"))
    browser.get(file.as_uri())
    assert browser.execute_script("return window.ran") is None
    assert any("Content Security Policy" in one for one in browsing.complaints(browser))
