from __future__ import annotations

import base64
import hashlib
import io
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from PIL import Image

from hvit_cli.report.cohort_page import cohort_page, worst_first
from hvit_cli.report.facts import CohortReport, SlideReport
from hvit_cli.report.markup import Html, element, escaped
from hvit_cli.report.slide_page import slide_page

NASTY = "<script>alert('x')</script> & \"quoted\""
VOID = {"img", "br", "meta", "link", "col"}
Make = Callable[..., SlideReport]
MakeCohort = Callable[..., CohortReport]


class Read(HTMLParser):
    """Every element with its attributes, the text, and whether all that opened was closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: dict[str, list[str]] = {}
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.text.setdefault(self.open[-1], []).append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(params=["slide", "nothing", "cohort"])
def page(request: pytest.FixtureRequest, slide_report: Make, cohort_report: MakeCohort) -> str:
    if request.param == "cohort":
        return cohort_page(cohort_report(), version="9.9")
    bare = {"said": (), "nothing": "No tissue was found.", "explained": None}
    changes = bare if request.param == "nothing" else {}
    return slide_page(slide_report(**changes), version="9.9")


def test_text_is_escaped_and_elements_are_not() -> None:
    made = element("p", {"title": '"><b>', "hidden": True, "lang": None}, "a<b", Html("<i>c</i>"))
    assert str(made) == '<p title="&quot;&gt;&lt;b&gt;" hidden>a&lt;b<i>c</i></p>'
    assert escaped(None) == ""
    assert str(element("img", {"alt": ""})) == '<img alt="">'


def test_a_name_that_looks_like_html_stays_text(page: str) -> None:
    read = Read(page)
    assert not read.open
    # The page's own, and no other.
    assert len(read.all("script")) == 1
    assert NASTY in read.text["h1"]
    assert NASTY not in page


def test_a_page_refers_to_nothing_outside_itself(page: str) -> None:
    assert "http://" not in page and "https://" not in page and "//" not in _addresses(page)
    for tag, attributes in Read(page).elements:
        assert not [name for name in attributes if name.startswith("on")], tag
        assert "style" not in attributes and "srcset" not in attributes
        if tag != "a" and "href" in attributes:
            assert attributes["href"] == "data:,"
        if "src" in attributes:
            assert str(attributes["src"]).startswith("data:image/jpeg;base64,")


def _addresses(page: str) -> str:
    style = page[page.index("<style>") : page.index("</style>")]
    return " ".join(re.findall(r"url\(([^)]*)\)|@import[^;]*", style))


def test_the_policy_allows_the_pages_own_style_and_script_alone(page: str) -> None:
    read = Read(page)
    (policy,) = (
        str(m["content"])
        for m in read.all("meta")
        if m.get("http-equiv", "").startswith("Content")  # type: ignore[union-attr]
    )
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'" and rules["img-src"] == "data:"
    for tag, rule in (("style", "style-src"), ("script", "script-src")):
        digest = hashlib.sha256("".join(read.text[tag]).encode()).digest()
        assert rules[rule] == f"'sha256-{base64.b64encode(digest).decode()}'"


def test_every_picture_decodes_has_its_size_and_says_what_it_shows(page: str) -> None:
    pictures = Read(page).all("img")
    assert pictures
    for attributes in pictures:
        data = base64.b64decode(str(attributes["src"]).partition(",")[2], validate=True)
        with Image.open(io.BytesIO(data)) as picture:
            picture.load()
            assert [str(side) for side in picture.size] == [
                attributes["width"],
                attributes["height"],
            ]
            assert not picture.getexif() and "comment" not in picture.info
        assert attributes["alt"]


def test_every_page_says_that_it_is_no_medical_device(page: str) -> None:
    said = [text for texts in Read(page).text.values() for text in texts]
    assert sum("not a medical device" in text for text in said) == 2  # on top, and at the end


def test_the_grade_is_told_with_the_spread_of_its_members(slide_report: Make) -> None:
    text = slide_page(slide_report(label=4), version="9.9")
    # Five members at -0.3, -0.15, 0, 0.15, 0.3: variance 0.225 / 4.
    assert "score 3.20 ± 0.24 (SD of 5 members)" in text
    assert "ISUP grade 3" in text and "ISUP grade 4" in text
    assert "error of the score −0.80" in text
    circles = Read(text).all("circle")
    assert len(circles) == 10


def test_the_axis_has_scores_where_they_belong(slide_report: Make) -> None:
    read = Read(slide_page(slide_report(), version="9.9"))
    # Bands of even grades are tinted: their centres are the grades.
    bands = [b for b in read.all("rect") if b["fill"] in ("#f1f4f8", "#ffffff")][:6]
    centre = [float(str(b["x"])) + float(str(b["width"])) / 2 for b in bands]
    per_grade = (centre[5] - centre[0]) / 5
    bars = [float(str(line["x1"])) for line in read.all("line") if line["stroke-width"] == "4"]
    assert bars == pytest.approx([centre[0] + s * per_grade for s in (3.2, 2.4)], abs=0.2)


def test_patches_bear_value_and_place(slide_report: Make) -> None:
    text = slide_page(slide_report(), version="9.9")
    assert "x 1234, y 5678" in text and ">2.5<" in text and "region 3, 87 % tissue" in text


def test_a_slide_without_a_grade_says_why(slide_report: Make) -> None:
    report = slide_report(said=(), nothing="No tissue was found.", explained=None)
    text = slide_page(report, version="9.9")
    assert "No tissue was found." in text and "ISUP" not in text


def test_the_worst_errors_come_first_and_those_without_a_grade_last(
    cohort_report: MakeCohort,
) -> None:
    names = [slide.slide_id for slide in worst_first(cohort_report().slides)]
    # 0.4 for 4, 4.9 for 4, 2.1 for 2, and one without a grade.
    assert names == ["slide_9", NASTY, "slide_10", "glass"]


def test_without_labels_slides_stay_in_their_order(cohort_report: MakeCohort) -> None:
    text = cohort_page(cohort_report(labelled=False), version="9.9")
    table = text[text.index("<tbody>") : text.index("</tbody>")]
    names = re.findall(r'<th scope="row"><a href="#slide-\d+">([^<]*)</a>', table)
    assert [names[0], names[1], names[3]] == ["slide_10", "slide_9", "glass"]
    assert ">label<" not in text and ">error<" not in text


def test_rows_lead_to_cards_and_cards_to_pages(cohort_report: MakeCohort) -> None:
    read = Read(cohort_page(cohort_report(), version="9.9"))
    cards = {str(card["id"]) for card in read.all("article")}
    links = [str(link["href"]) for link in read.all("a")]
    assert {link[1:] for link in links if link.startswith("#")} == cards
    assert "7.html" in links


def test_slides_with_colours_of_their_own_have_each_their_bar(cohort_report: MakeCohort) -> None:
    shared = cohort_report()
    assert shared.scale is not None
    assert Read(cohort_page(shared, version="9.9")).all("lineargradient") == [{"id": "scale"}]
    own = [
        replace(slide, scale=replace(shared.scale, limits=(-k - 1.0, k + 1.0)))
        for k, slide in enumerate(shared.slides[:2])
    ]
    text = cohort_page(replace(shared, scale=None, slides=own), version="9.9")
    bars = Read(text).all("lineargradient")
    assert len({bar["id"] for bar in bars}) == len(bars) == 2
    for bar in bars:
        assert f'fill="url(#{bar["id"]})"' in text
    assert ">−1<" in text and ">−2<" in text
