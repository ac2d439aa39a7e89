"""The report on a cohort: a table that can be sorted, and every slide's maps below it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hvit_cli.report.facts import CohortReport, CohortSlide
from hvit_cli.report.figures import colour_bar, grade_bars
from hvit_cli.report.markup import Content, Html, element, joined
from hvit_cli.report.page import page
from hvit_cli.report.pictures import shown
from hvit_cli.report.sections import heading, methods, pairs, recipe, section, spread, warnings


@dataclass(frozen=True, kw_only=True)
class _Column:
    """A column of the table: its heading, and for a slide what is shown and what is sorted by."""

    name: str
    number: bool = True
    falling: bool = False

    def heading(self, ordered: bool) -> Html:
        return element(
            "th",
            {
                "scope": "col",
                "data-kind": "number" if self.number else "text",
                "data-first": "descending" if self.falling else "ascending",
                "class": "number" if self.number else None,
                "aria-sort": ("descending" if self.falling else "ascending") if ordered else None,
            },
            element("button", {"type": "button"}, self.name),
        )


def worst_first(slides: Sequence[CohortSlide]) -> list[CohortSlide]:
    """The slides with the largest errors in front; those without one behind, as they came."""
    return sorted(slides, key=lambda one: (one.error is None, -abs(one.error or 0.0)))


def cohort_page(report: CohortReport, *, version: str) -> str:
    """The whole page, as one self-contained HTML file."""
    labelled = any(slide.label is not None for slide in report.slides)
    slides = worst_first(report.slides) if labelled else list(report.slides)
    graded = sum(bool(slide.said) for slide in slides)
    contents = [
        heading(
            "Cohort report",
            report.title,
            f"{graded} of {len(slides)} graded · model {report.model}",
        ),
        warnings(report.warnings),
        _summary(report, slides, labelled),
        _table(slides, labelled),
        *([_cards(slides, report)] if any(slide.pictures for slide in slides) else []),
        methods(report.methods),
        recipe(report.recipe),
    ]
    return page(f"{report.title} · hvit report", joined(contents, "\n"), version=version)


def _summary(report: CohortReport, slides: Sequence[CohortSlide], labelled: bool) -> Html:
    counts, labels = [0] * report.grades, [0] * report.grades
    for slide in slides:
        if slide.said:
            counts[slide.said[0].grade] += 1
        if slide.label is not None:
            labels[slide.label] += 1
    legend = "Slides of each grade" + (" (blue) and of each label (ochre)." if labelled else ".")
    return section(
        "Grades",
        element(
            "div",
            {"class": "summary"},
            element(
                "figure",
                {},
                grade_bars(counts, labels if labelled else None),
                element("figcaption", {}, legend),
            ),
            pairs(report.agreement) if report.agreement else None,
        ),
    )


def _table(slides: Sequence[CohortSlide], labelled: bool) -> Html:
    kinds = list(dict.fromkeys(one.attention for slide in slides for one in slide.said))
    further = list(dict.fromkeys(name for slide in slides for name in slide.numbers))
    columns = [_Column(name="slide", number=False), _Column(name="grade", falling=True)]
    if labelled:
        columns += [_Column(name="label", falling=True), _Column(name="error", falling=True)]
    columns += [_Column(name=f"score, {kind}", falling=True) for kind in kinds]
    columns += [
        _Column(name="tissue mm²", falling=True),
        _Column(name="not seen mm²", falling=True),
        *(_Column(name=name, falling=True) for name in further),
        _Column(name="status", number=False),
    ]
    head = element(
        "tr", {}, *(column.heading(labelled and column.name == "error") for column in columns)
    )
    rows = []
    for k, slide in enumerate(slides):
        first = slide.said[0] if slide.said else None
        cells = [_cell(first.grade if first else None, 0)]
        if labelled:
            cells += [_cell(slide.label, 0), _error(slide.error)]
        by_kind = {one.attention: one for one in slide.said}
        for kind in kinds:
            one = by_kind.get(kind)
            cells.append(_cell(one.score if one else None, 2, spread(one) if one else ""))
        cells += [_cell(slide.tissue_mm2, 2), _cell(slide.dropped_mm2, 2)]
        cells += [_cell(slide.numbers.get(name), 2) for name in further]
        status = f"{slide.status}: {slide.reason}" if slide.reason else slide.status
        cells.append(element("td", {"class": None if first else "bad"}, status))
        name: Content = slide.slide_id
        if slide.pictures:
            name = element("a", {"href": f"#slide-{k + 1}"}, slide.slide_id)
        rows.append(element("tr", {}, element("th", {"scope": "row"}, name), *cells))
    order = "The largest errors of the score stand first. " if labelled else ""
    return section(
        "Slides",
        element(
            "p", {"class": "faint"}, f"{order}A heading sorts by its column, again for the reverse."
        ),
        element(
            "div",
            {"class": "wide"},
            element(
                "table",
                {"class": "sortable"},
                element("thead", {}, head),
                element("tbody", {}, joined(rows, "\n")),
            ),
            element("p", {"class": "unseen", "aria-live": "polite"}, ""),
        ),
    )


def _cell(value: float | None, digits: int, text: str | None = None) -> Html:
    if value is None:
        return element("td", {"class": "number", "data-value": ""}, "–")
    shown_text = f"{value:.{digits}f}".replace("-", "−") if text is None else text
    return element("td", {"class": "number", "data-value": f"{value:.6g}"}, shown_text)


def _error(error: float | None) -> Html:
    """Sorted by its size, whichever way it goes."""
    if error is None:
        return element("td", {"class": "number", "data-value": ""}, "–")
    large = "number large" if abs(error) >= 1 else "number"
    return element(
        "td", {"class": large, "data-value": f"{abs(error):.6g}"}, f"{error:+.2f}".replace("-", "−")
    )


def _cards(slides: Sequence[CohortSlide], report: CohortReport) -> Html:
    cards = []
    for k, slide in enumerate(slides):
        if not slide.pictures:
            continue
        first = slide.said[0] if slide.said else None
        grade = (
            f"{report.grade_name} {first.grade}, score {spread(first)}" if first else slide.status
        )
        known = "" if slide.label is None else f", label {slide.label}"
        cards.append(
            element(
                "article",
                {"id": f"slide-{k + 1}"},
                element("h3", {}, slide.slide_id),
                element("p", {}, f"{grade}{known}"),
                element(
                    "div",
                    {"class": "maps"},
                    *(
                        element(
                            "figure",
                            {},
                            element("figcaption", {"class": "above"}, title),
                            shown(picture),
                        )
                        for title, picture in slide.pictures
                    ),
                ),
                colour_bar(slide.scale, f"scale-{k + 1}") if slide.scale else None,
                element("p", {}, element("a", {"href": slide.link}, "slide report"))
                if slide.link
                else None,
            )
        )
    bar = [colour_bar(report.scale, "scale")] if report.scale else []
    return section(
        report.heading,
        *bar,
        element("p", {"class": "faint"}, report.caption),
        *cards,
        css_class="slides",
    )
