"""Writes the tables of docs/reference/map-measures.md from what measure_maps.py measured.

    cd examples/synthetic_cohort
    python write_map_tables.py /tmp/map-measures ../../docs/reference/map-measures.md

Replaces what stands between `<!-- measures -->` and `<!-- end of measures -->`. What the page says
of the tables is written by hand and must be read again.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path

MAPS = ("attention", "rollout", "gradient", "contribution", "single")
FLOORS = ("random", "uniform", "tissue", "haematoxylin")
# What a row is called; model, trained, run, glass, weights. "" is the demonstration model.
ROWS = {
    "masked": ("", "masked", "masked", "seen", "trained"),
    "masked, run plain": ("", "masked", "plain", "seen", "trained"),
    "plain, run masked": ("", "plain", "masked", "seen", "trained"),
    "plain": ("", "plain", "plain", "seen", "trained"),
    "plain, glass hidden": ("", "plain", "plain", "hidden", "trained"),
    "plain, 4 registers": ("registers", "plain", "plain", "seen", "trained"),
    "plain, 4 registers, glass hidden": ("registers", "plain", "plain", "hidden", "trained"),
    "masked, fresh weights": ("", "masked", "masked", "seen", "fresh"),
    "plain, fresh weights": ("", "plain", "plain", "seen", "fresh"),
}
TITLES = {
    "auroc": "Localisation: AUROC",
    "average_precision": "Localisation: average precision",
    "gain": "Faithfulness: relevance gain, grade points",
    "background_mass": "Background mass",
    "entropy": "Concentration: entropy",
    "top_share": "Concentration: largest share",
    "grid_shift": "Stability: a grid shifted by half a patch",
    "stain": "Stability: another stain",
}
FIRST, LAST = "<!-- measures -->", "<!-- end of measures -->"
Key = tuple[str, ...]


def main() -> None:
    """Replaces the tables of the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="the folder that measure_maps.py filled")
    parser.add_argument("page", type=Path)
    arguments = parser.parse_args()
    cells = read_cells(arguments.out / "maps" / "summary.csv")
    before, _, rest = arguments.page.read_text(encoding="utf-8").partition(FIRST)
    _, _, after = rest.partition(LAST)
    text = "\n".join([f"{before}{FIRST}", "", *tables(cells), f"{LAST}{after}"])
    arguments.page.write_text(text, encoding="utf-8")


def read_cells(path: Path) -> dict[Key, dict[str, str]]:
    """The lines of summary.csv by model, trained, run, glass, weights, map and measure."""
    with path.open(newline="") as file:
        lines = list(csv.DictReader(file))
    return {
        (
            "registers" if line["model"] == "registers" else "",
            *(line[k] for k in ("trained", "run", "glass", "weights", "map", "measure")),
        ): line
        for line in lines
    }


def tables(cells: dict[Key, dict[str, str]]) -> list[str]:
    """A table of maps for each measure, and one of its floors."""
    found: list[str] = []
    for measure, title in TITLES.items():
        lines = [
            [name, *(number(cells.get((*row, kind, measure))) for kind in MAPS)]
            for name, row in ROWS.items()
            # 0 by construction.
            if measure != "background_mass" or (row[2] == "plain" and row[3] == "seen")
        ]
        floors = [
            [name, *(number(cells.get((*ROWS[name], kind, measure))) for kind in FLOORS)]
            for name in ("masked", "plain")
            if measure != "background_mass" or name == "plain"
        ]
        against = [
            [
                f"{name} − plain",
                *(number(cells.get((*row, kind, measure)), "minus_plain") for kind in MAPS),
            ]
            for name, row in ROWS.items()
            if measure in ("auroc", "gain") and row[4] == "trained" and name != "plain"
        ]
        found += [f"### {title}", "", *table(["", *MAPS], lines)]
        found += table(["floor", *FLOORS], floors) + table(["difference", *MAPS], against)
    return found


def number(line: dict[str, str] | None, name: str = "mean") -> str:
    """A mean and its interval, or a dash."""
    if line is None or not line[name]:
        return "–"
    low, high = ("low", "high") if name == "mean" else (f"{name}_low", f"{name}_high")
    if not line[low]:
        return f"{float(line[name]):.2f}"
    return f"{float(line[name]):.2f} ({float(line[low]):.2f} to {float(line[high]):.2f})"


def table(heading: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table of the lines that hold any number, and an empty line."""
    kept = [line for line in lines if any(cell != "–" for cell in line[1:])]
    if not kept:
        return []
    return [
        "| " + " | ".join(heading) + " |",
        "|" + "---|" * len(heading),
        *("| " + " | ".join(line) + " |" for line in kept),
        "",
    ]


if __name__ == "__main__":
    main()
