"""Small drawings inside a page: where scores lie, what colours mean, how grades are spread."""

from __future__ import annotations

from collections.abc import Sequence

from hvit_cli.report.facts import ColourScale, Said
from hvit_cli.report.markup import Html, element, joined

_LEFT, _WIDTH, _STEP = 62, 460, 34
_DOT = 4.5


def score_axis(said: Sequence[Said], grades: int, label: int | None = None) -> Html:
    """Where the score and its members lie between the grades, a line for each attention.

    Args:
        said: At least one.
        grades: Number of classes; grade k reaches from k - 0.5 to k + 0.5.
        label: What is true, marked where it is known.
    """
    last = grades - 1
    scores = [score for one in said for _, score in one.member_scores]
    low, high = min(-0.5, *scores) - 0.05, max(last + 0.5, *scores) + 0.05

    def x(score: float) -> str:
        return f"{_LEFT + (score - low) / (high - low) * _WIDTH:.1f}"

    bottom = 8 + _STEP * len(said)
    parts: list[Html] = []
    for grade in range(grades):
        left, right = (float(x(grade + side)) for side in (-0.5, 0.5))
        fill = "#f1f4f8" if grade % 2 == 0 else "#ffffff"
        parts.append(
            element(
                "rect",
                {
                    "x": f"{left:.1f}",
                    "y": 4,
                    "width": f"{right - left:.1f}",
                    "height": bottom - 4,
                    "fill": fill,
                },
            )
        )
        parts.append(_text(f"{(left + right) / 2:.1f}", bottom + 17, str(grade), anchor="middle"))
    if label is not None:
        at = x(label)
        parts.append(
            _line(at, 4, at, bottom, "#8a6d00", 2, dashes="4 3"),
        )
        parts.append(_text(at, bottom + 33, "label", anchor="middle", fill="#705800"))
    for row, one in enumerate(said):
        y = 4 + _STEP * (row + 0.5)
        parts.append(_text("0", y + 4.5, one.attention))
        ends = [score for _, score in one.member_scores]
        if len(ends) > 1:
            parts.append(_line(x(min(ends)), y, x(max(ends)), y, "#9fb6d3", 2))
        for fold, score in one.member_scores if len(ends) > 1 else ():
            name = "member" if fold is None else f"fold {fold}"
            parts.append(
                element(
                    "circle",
                    {"cx": x(score), "cy": y, "r": _DOT, "fill": "#9fb6d3", "stroke": "#ffffff"},
                    element("title", {}, f"{name}: {score:.2f}"),
                )
            )
        parts.append(_line(x(one.score), y - 10, x(one.score), y + 10, "#1f4e8c", 4))
    height = bottom + (40 if label is not None else 24)
    words = "; ".join(
        f"{one.attention} score {one.score:.2f}"
        + (f", members {min(s):.2f} to {max(s):.2f}" if len(s) > 1 else "")
        for one in said
        for s in [[score for _, score in one.member_scores]]
    )
    return element(
        "svg",
        {
            "class": "axis",
            "viewBox": f"0 0 {_LEFT + _WIDTH + 8} {height}",
            "role": "img",
            "aria-label": f"Scores on the axis of grades 0 to {last}: {words}",
        },
        *parts,
    )


def colour_bar(scale: ColourScale, key: str) -> Html:
    """The colours with their values.

    Args:
        scale: What they mean.
        key: Sets this bar apart from others on the page.
    """
    stops = [
        element("stop", {"offset": f"{k / (len(scale.colours) - 1):.4f}", "stop-color": colour})
        for k, colour in enumerate(scale.colours)
    ]
    low, high = scale.limits
    middle = (low + high) / 2
    ticks = [
        ("0", "start", f"{'≤ ' if scale.clipped[0] else ''}{_number(low)}"),
        ("180", "middle", _number(middle)),
        ("360", "end", f"{'≥ ' if scale.clipped[1] else ''}{_number(high)}"),
    ]
    return element(
        "figure",
        {"class": "bar"},
        element(
            "svg",
            {"viewBox": "0 0 360 34", "role": "img", "aria-label": f"Colours: {scale.label}"},
            element("linearGradient", {"id": key}, *stops),
            element(
                "rect",
                {
                    "x": 0.5,
                    "y": 0.5,
                    "width": 359,
                    "height": 13,
                    "rx": 2,
                    "fill": f"url(#{key})",
                    "stroke": "#c3cad5",
                },
            ),
            *(_text(x, 30, text, anchor=anchor) for x, anchor, text in ticks),
        ),
        element("figcaption", {}, scale.label),
    )


def grade_bars(counts: Sequence[int], labelled: Sequence[int] | None = None) -> Html:
    """How many slides have each grade, and how many each label where labels are known."""
    most = max([1, *counts, *(labelled or ())])
    step, high = 62, 84
    parts = []
    for grade, count in enumerate(counts):
        series = [(count, "#1f4e8c")] + ([(labelled[grade], "#d3b24a")] if labelled else [])
        wide = 36 / len(series)
        for k, (number, fill) in enumerate(series):
            tall = number / most * high
            left = grade * step + 13 + k * wide
            parts.append(
                element(
                    "rect",
                    {
                        "x": f"{left:.1f}",
                        "y": f"{high + 16 - tall:.1f}",
                        "width": f"{wide - 1:.1f}",
                        "height": f"{tall:.1f}",
                        "fill": fill,
                    },
                )
            )
            parts.append(
                _text(f"{left + wide / 2:.1f}", f"{high + 12 - tall:.1f}", number, anchor="middle")
            )
        parts.append(_text(grade * step + 31, high + 33, f"{grade}", anchor="middle"))
    parts.append(_line(0, high + 16, step * len(counts), high + 16, "#8a94a3", 1))
    words = ", ".join(f"{count} of grade {grade}" for grade, count in enumerate(counts))
    return element(
        "svg",
        {
            "class": "bars",
            "viewBox": f"0 0 {step * len(counts)} {high + 40}",
            "role": "img",
            "aria-label": f"Slides: {words}",
        },
        joined(parts),
    )


def _number(value: float) -> str:
    return f"{value:.3g}".replace("-", "−")


def _text(
    x: str | float, y: str | float, text: object, *, anchor: str = "start", fill: str = "#414b5a"
) -> Html:
    return element("text", {"x": x, "y": y, "text-anchor": anchor, "fill": fill}, str(text))


def _line(
    x1: str | float,
    y1: float,
    x2: str | float,
    y2: float,
    stroke: str,
    width: float,
    dashes: str | None = None,
) -> Html:
    return element(
        "line",
        {
            "x1": x1,
            "y1": y1,
            "x2": x2,
            "y2": y2,
            "stroke": stroke,
            "stroke-width": width,
            "stroke-dasharray": dashes,
        },
    )
