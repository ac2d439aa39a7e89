"""The report on one slide."""

from __future__ import annotations

from collections.abc import Sequence

from hvit_cli.report.facts import Explained, PatchSheet, PatchShown, Said, SlideReport
from hvit_cli.report.figures import colour_bar, score_axis
from hvit_cli.report.markup import Html, element, joined
from hvit_cli.report.page import page
from hvit_cli.report.pictures import shown
from hvit_cli.report.sections import (
    heading,
    keys,
    methods,
    pairs,
    recipe,
    section,
    spread,
    warnings,
)


def slide_page(report: SlideReport, *, version: str) -> str:
    """The whole page, as one self-contained HTML file."""
    contents = [
        heading("Slide report", report.slide_id, _below(report)),
        warnings(report.warnings),
        _verdict(report),
        _slide(report),
        *([_maps(report.explained)] if report.explained else []),
        *([_sheets(report.explained)] if report.explained and report.explained.sheets else []),
        *([_measures(report.explained)] if report.explained else []),
        methods(report.methods),
        recipe(report.recipe),
    ]
    return page(f"{report.slide_id} · hvit report", joined(contents, "\n"), version=version)


def _below(report: SlideReport) -> str:
    told = dict(report.facts)
    return " · ".join([f"model {told['Model']}", told["Size"]])


def _verdict(report: SlideReport) -> Html:
    if not report.said:
        return section("Grade", element("p", {"class": "nothing"}, report.nothing))
    alike = len({one.note for one in report.said}) == 1
    cards = [
        # What is to be said of all of them stands at the top of the page.
        _card(one, report.grade_name, "" if alike else one.note, first=k == 0)
        for k, one in enumerate(report.said)
    ]
    known = (
        []
        if report.label is None
        else [
            element(
                "div",
                {"class": "card label"},
                element("span", {"class": "attention"}, "label"),
                element("strong", {}, f"{report.grade_name} {report.label}"),
                element(
                    "span",
                    {},
                    f"error of the score {report.said[0].score - report.label:+.2f}".replace(
                        "-", "−"
                    ),
                ),
            )
        ]
    )
    several = any(len(one.member_scores) > 1 for one in report.said)
    explained = (
        "Bar: the mean score. Dots: the scores of the members (folds)."
        if several
        else "Bar: the score. The model has one member, so nothing is known of its spread."
    )
    return section(
        "Grade",
        element("div", {"class": "cards"}, *cards, *known),
        element(
            "figure",
            {"class": "spread"},
            score_axis(report.said, report.grades, report.label),
            element("figcaption", {}, explained),
        ),
        css_class="verdict",
    )


def _card(said: Said, grade_name: str, note: str, *, first: bool) -> Html:
    members = len(said.member_scores)
    of = f" (SD of {members} members)" if members > 1 else ""
    return element(
        "div",
        {"class": "card first" if first else "card"},
        element("span", {"class": "attention"}, f"{said.attention} attention"),
        element("strong", {}, f"{grade_name} {said.grade}"),
        element("span", {}, f"score {spread(said)}{of}"),
        element("span", {"class": "faint"}, note) if note else None,
    )


def _slide(report: SlideReport) -> Html:
    picture = []
    if report.overview is not None:
        picture.append(
            element(
                "figure",
                {},
                shown(report.overview),
                element("figcaption", {}, keys(report.overview_keys)),
            )
        )
    return section("Slide", element("div", {"class": "overview"}, *picture, pairs(report.facts)))


def _maps(explained: Explained) -> Html:
    figures = [
        element(
            "figure",
            {},
            element("figcaption", {"class": "above"}, f"{one.attention} attention"),
            shown(one.picture),
        )
        for one in explained.maps
    ]
    return section(
        explained.heading,
        element("div", {"class": "maps"}, *figures),
        colour_bar(explained.scale, "scale"),
        element("p", {"class": "faint"}, explained.caption),
    )


def _sheets(explained: Explained) -> Html:
    return section(
        "Foremost and last patches",
        *(_sheet(sheet) for sheet in explained.sheets),
        element(
            "p",
            {"class": "faint"},
            "Under each patch its value on the scale of the maps, its top-left corner in level-0 "
            "pixels of the slide, its region and its share of tissue.",
        ),
    )


def _sheet(sheet: PatchSheet) -> Html:
    return joined(
        [
            element("h3", {}, f"{sheet.attention} attention: highest"),
            _patches(sheet.highest),
            *(
                [
                    element("h3", {}, f"{sheet.attention} attention: lowest"),
                    _patches(sheet.lowest),
                ]
                if sheet.lowest
                else []
            ),
        ],
        "\n",
    )


def _patches(patches: Sequence[PatchShown]) -> Html:
    return element(
        "ol",
        {"class": "patches"},
        *(
            element(
                "li",
                {},
                shown(patch.picture),
                element("b", {}, f"{patch.value:.3g}".replace("-", "−")),
                element("span", {}, f"x {patch.xy_level0[0]}, y {patch.xy_level0[1]}"),
                element(
                    "span",
                    {"class": "faint"},
                    f"region {patch.region}, {100 * patch.tissue_fraction:.0f} % tissue",
                ),
            )
            for patch in patches
        ),
    )


def _measures(explained: Explained) -> Html:
    kinds = [one.attention for one in explained.maps]
    head = element(
        "tr",
        {},
        element("th", {"scope": "col"}, "measure"),
        *(element("th", {"scope": "col", "class": "number"}, kind) for kind in kinds),
        element("th", {"scope": "col"}, "how to read it"),
    )
    rows = [
        element(
            "tr",
            {},
            element("th", {"scope": "row"}, measure.name),
            *(element("td", {"class": "number"}, measure.value.get(kind, "–")) for kind in kinds),
            element("td", {"class": "faint"}, measure.meaning),
        )
        for measure in explained.measures
    ]
    return section(
        "Measures of the maps",
        element("table", {}, element("thead", {}, head), element("tbody", {}, *rows)),
    )
