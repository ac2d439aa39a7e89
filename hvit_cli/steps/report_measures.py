"""The measures of a slide's maps that need no truth, as numbers and in words."""

from __future__ import annotations

from collections.abc import Mapping

from hvit_cli.heatmaps.maps import PatchMap
from hvit_cli.measures.background import background_mass
from hvit_cli.measures.comparable import values_of
from hvit_cli.measures.concentration import concentration
from hvit_cli.report.facts import Measure
from hvit_cli.settings import Attention


def measures_of(raw: Mapping[Attention, PatchMap]) -> dict[Attention, dict[str, float | None]]:
    """Numbers of the raw maps, by attention and name."""
    found: dict[Attention, dict[str, float | None]] = {}
    for kind, one in raw.items():
        values = values_of(one)
        held = concentration(values)
        found[kind] = {
            "background": background_mass(values),
            "entropy": held.entropy if held else None,
            "top": 100 * held.top_share if held else None,
        }
    return found


def measures_in_words(
    measured: Mapping[Attention, Mapping[str, float | None]],
) -> list[Measure]:
    """The same with names and meanings, for a page."""
    said = {
        "background": (
            "Map on glass ÷ share of glass",
            "1: glass gets as much as any patch. Under masked attention it is 0 by construction, "
            "or there is no glass to see: a check, and no evidence.",
            "{:.3f}",
        ),
        "entropy": (
            "Entropy",
            "Of the patches' shares, ÷ its largest possible value: 1 is uniform, 0 a single patch.",
            "{:.3f}",
        ),
        "top": ("Foremost patch", "Its share of the whole map.", "{:.1f} %"),
    }
    return [
        Measure(
            name=name,
            meaning=meaning,
            value={
                kind: "–" if numbers[key] is None else form.format(numbers[key])
                for kind, numbers in measured.items()
            },
        )
        for key, (name, meaning, form) in said.items()
    ]
