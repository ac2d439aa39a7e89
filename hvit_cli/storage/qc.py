"""`qc/index.html`: every slide's overview on one page, the odd ones first.

The page needs nothing but the pictures beside it: no network, no server. Ticked slides are
saved as `exclude.csv`, which every command takes with `--exclude`.
"""

from __future__ import annotations

import html
import math
from collections.abc import Collection, Sequence
from statistics import median
from urllib.parse import quote

from hvit_cli.storage.status import StatusRow

# Rows of these stages describe a slide's tissue; the first that exists is shown.
_STAGES = ("tile", "segment", "embed", "predict", "heatmap")


def oddness(row: StatusRow, rows: Sequence[StatusRow]) -> float:
    """How much a slide differs from the others of its run; 0 is ordinary.

    The sum of: 5 where there is no result; how many times larger or smaller its tissue is
    than the median, in doublings; 4 × the share of its tissue in no region; 4 × the share of
    pen in tissue and pen.
    """
    return _oddness(row, _usual_mm2(rows))


def _usual_mm2(rows: Sequence[StatusRow]) -> float | None:
    areas = [row.tissue_mm2 for row in rows if row.tissue_mm2]
    return median(areas) if areas else None


def _oddness(row: StatusRow, usual_mm2: float | None) -> float:
    score = 0.0 if row.status == "done" else 5.0
    tissue = row.tissue_mm2 or 0.0
    if usual_mm2 and tissue:
        score += abs(math.log2(tissue / usual_mm2))
        score += 4 * min((row.tissue_dropped_mm2 or 0.0) / tissue, 1.0)
    pen = row.pen_mm2 or 0.0
    return score + (4 * pen / (pen + tissue) if pen else 0.0)


def overview_page(rows: Sequence[StatusRow], pictures: Collection[str]) -> str:
    """The page for the latest rows of a work folder.

    Args:
        rows: Rows of any stages; the one that says most about tissue is taken per slide.
        pictures: Names of the slides that have a picture.
    """
    shown = _one_per_slide(rows)
    usual_mm2 = _usual_mm2(shown)
    scored = sorted(((_oddness(row, usual_mm2), row) for row in shown), key=lambda s: -s[0])
    cards = "\n".join(_card(row, score, row.slide_id in pictures) for score, row in scored)
    return _PAGE.replace("{{count}}", str(len(shown))).replace("{{cards}}", cards)


def _one_per_slide(rows: Sequence[StatusRow]) -> list[StatusRow]:
    best: dict[str, StatusRow] = {}
    for row in rows:
        if row.stage not in _STAGES:
            continue
        known = best.get(row.slide_id)
        if known is None or _STAGES.index(row.stage) < _STAGES.index(known.stage):
            best[row.slide_id] = row
    return [best[name] for name in sorted(best)]


def _card(row: StatusRow, score: float, has_picture: bool) -> str:
    name = html.escape(row.slide_id, quote=True)
    dropped = (row.tissue_dropped_mm2 or 0.0) / row.tissue_mm2 if row.tissue_mm2 else 0.0
    facts = [
        row.status,
        f"{row.tissue_mm2:.2f} mm² tissue" if row.tissue_mm2 is not None else "",
        f"{100 * dropped:.1f} % in no region" if row.tissue_dropped_mm2 is not None else "",
        f"{row.n_regions} regions" if row.n_regions is not None else "",
        f"{row.pen_mm2:.2f} mm² pen" if row.pen_mm2 else "",
        row.reason,
    ]
    file = html.escape(quote(f"{row.slide_id}.jpg"), quote=True)
    picture = (
        f'<a href="{file}"><img loading="lazy" src="{file}" alt="overview of {name}"></a>'
        if has_picture
        else '<p class="none">no picture</p>'
    )
    return (
        f'<article data-name="{name}" data-odd="{score:.4f}"'
        f' data-tissue="{row.tissue_mm2 or 0:.6g}" data-dropped="{dropped:.6g}"'
        f' data-regions="{row.n_regions or 0}" data-pen="{row.pen_mm2 or 0:.6g}">\n'
        f"{picture}\n"
        f'<label><input type="checkbox"> <b>{name}</b></label>\n'
        f"<p>{html.escape(' · '.join(fact for fact in facts if fact))}</p>\n"
        f"<p>oddness {score:.2f}</p>\n</article>"
    )


_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>hvit: overview of slides</title>
<style>
body { font: 15px/1.4 system-ui, sans-serif; margin: 0; background: #f4f4f4; color: #1e1e1e; }
header { position: sticky; top: 0; background: #fff; padding: .7em 1em;
  border-bottom: 1px solid #ccc; }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(300px, 1fr));
  gap: 12px; padding: 12px; }
article { background: #fff; border: 1px solid #ddd; padding: 8px; overflow-wrap: anywhere; }
article.out { opacity: .45; border-color: #b00; }
img { width: 100%; max-height: 300px; object-fit: contain; background: #eee; }
p { margin: .3em 0; } .none { color: #888; padding: 2em; text-align: center; }
</style>
</head>
<body>
<header>
<b>{{count}} slides</b> ·
<label>order by <select id="order">
<option value="odd">oddness</option><option value="tissue">tissue area</option>
<option value="dropped">tissue in no region</option><option value="regions">regions</option>
<option value="pen">pen</option><option value="name">name</option>
</select></label>
<label><input type="checkbox" id="ascending"> smallest first</label> ·
<button id="save">Save exclude.csv</button> <span id="ticked">0 ticked</span>
<p>Tick what should be left out, save the table, and give it to any command with
<code>--exclude exclude.csv</code>. Oddness adds up: 5 without a result, doublings of the tissue
area away from the median, 4 × the share of tissue in no region, 4 × the share of pen.</p>
</header>
<main>
{{cards}}
</main>
<script>
const main = document.querySelector("main");
const cards = [...main.querySelectorAll("article")];
const order = document.getElementById("order");
const ascending = document.getElementById("ascending");
function arrange() {
  const key = order.value, sign = ascending.checked ? 1 : -1;
  const byName = (a, b) => a.dataset.name.localeCompare(b.dataset.name);
  cards.sort((a, b) => key === "name"
    ? byName(a, b) * (ascending.checked ? -1 : 1)
    : sign * (Number(a.dataset[key]) - Number(b.dataset[key])) || byName(a, b));
  main.append(...cards);
}
function ticked() { return cards.filter(card => card.querySelector("input").checked); }
function count() {
  for (const card of cards) card.classList.toggle("out", card.querySelector("input").checked);
  document.getElementById("ticked").textContent = ticked().length + " ticked";
}
function save() {
  const risky = text => /^'*[=+@-]/.test(text) && (text[0] === "'" || isNaN(text));
  const safe = text => risky(text) ? "'" + text : text;
  const cell = text => '"' + safe(text).replaceAll('"', '""') + '"';
  const lines = ["slide_id", ...ticked().map(card => cell(card.dataset.name))];
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([lines.join("\\n") + "\\n"], {type: "text/csv"}));
  link.download = "exclude.csv";
  link.click();
  URL.revokeObjectURL(link.href);
}
order.onchange = arrange;
ascending.onchange = arrange;
main.onchange = count;
document.getElementById("save").onclick = save;
count();
</script>
</body>
</html>
"""
