"""`qc/index.html`: every slide's overview on one page, the odd ones first.

The page needs nothing but the pictures beside it: no network, no server. Ticked slides are
saved as `exclude.csv`, which every command takes with `--exclude`.
"""

from __future__ import annotations

import json
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

    Slides are data that a script shows some hundreds at a time, in any order: a page with a
    hundred thousand pictures in it is one that no browser opens.

    Args:
        rows: Rows of any stages; the one that says most about tissue is taken per slide.
        pictures: Names of the slides that have a picture.
    """
    shown = _one_per_slide(rows)
    usual_mm2 = _usual_mm2(shown)
    scored = sorted(((_oddness(row, usual_mm2), row) for row in shown), key=lambda s: -s[0])
    data = ",\n".join(_datum(row, score, row.slide_id in pictures) for score, row in scored)
    return _PAGE.replace("{{count}}", str(len(shown))).replace("{{slides}}", data)


def _one_per_slide(rows: Sequence[StatusRow]) -> list[StatusRow]:
    best: dict[str, StatusRow] = {}
    for row in rows:
        if row.stage not in _STAGES:
            continue
        known = best.get(row.slide_id)
        if known is None or _STAGES.index(row.stage) < _STAGES.index(known.stage):
            best[row.slide_id] = row
    return [best[name] for name in sorted(best)]


def _datum(row: StatusRow, score: float, has_picture: bool) -> str:
    """One slide as the page's script takes it, harmless inside a script of HTML."""
    datum = {
        "name": row.slide_id,
        "odd": round(score, 4),
        "status": row.status,
        "tissue": row.tissue_mm2,
        "dropped": row.tissue_dropped_mm2,
        "regions": row.n_regions,
        "pen": row.pen_mm2,
        # Which run of several made a slide says nothing about the slide.
        "reason": "" if row.reason == "reused" else row.reason,
        # A name may be no text that a browser could write into an address itself.
        "picture": quote(f"{row.slide_id}.jpg", errors="surrogateescape") if has_picture else None,
    }
    kept = {key: value for key, value in datum.items() if value not in (None, "")}
    return json.dumps(kept, separators=(",", ":")).replace("<", "\\u003c")


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
<span id="pages"><button id="before">previous</button> <span id="where"></span>
<button id="after">next</button> ·</span>
<button id="save">Save exclude.csv</button> <span id="ticked">0 ticked</span>
<p>Tick what should be left out, save the table, and give it to any command with
<code>--exclude exclude.csv</code>. Oddness adds up: 5 without a result, doublings of the tissue
area away from the median, 4 × the share of tissue in no region, 4 × the share of pen.</p>
</header>
<main></main>
<noscript>The overviews are the pictures beside this page; showing them in order takes
JavaScript, which asks for nothing but them.</noscript>
<script>
const AT_ONCE = 300;
const slides = [
{{slides}}
];
const main = document.querySelector("main");
const order = document.getElementById("order");
const ascending = document.getElementById("ascending");
const ticked = new Set();
let first = 0;
for (const slide of slides) slide.share = slide.tissue ? (slide.dropped || 0) / slide.tissue : 0;
function element(tag, text, ...inside) {
  const made = document.createElement(tag);
  made.textContent = text;
  made.append(...inside);
  return made;
}
function facts(slide) {
  const { status, tissue, dropped, regions, pen, reason } = slide;
  return [
    status,
    tissue === undefined ? "" : tissue.toFixed(2) + " mm² tissue",
    dropped === undefined ? "" : (100 * slide.share).toFixed(1) + " % in no region",
    regions === undefined ? "" : regions + " regions",
    pen ? pen.toFixed(2) + " mm² pen" : "",
    reason || "",
  ].filter(fact => fact).join(" · ");
}
function overview(slide) {
  if (!slide.picture) {
    const none = element("p", "no picture");
    none.className = "none";
    return none;
  }
  const link = document.createElement("a"), picture = document.createElement("img");
  link.href = picture.src = slide.picture;
  picture.loading = "lazy";
  picture.alt = "overview of " + slide.name;
  link.append(picture);
  return link;
}
function card(slide) {
  const box = document.createElement("input");
  box.type = "checkbox";
  box.checked = ticked.has(slide.name);
  const made = element("article", "", overview(slide),
    element("label", "", box, " ", element("b", slide.name)),
    element("p", facts(slide)), element("p", "oddness " + slide.odd.toFixed(2)));
  made.classList.toggle("out", box.checked);
  box.onchange = () => {
    if (box.checked) ticked.add(slide.name); else ticked.delete(slide.name);
    made.classList.toggle("out", box.checked);
    count();
  };
  return made;
}
function show() {
  const shown = slides.slice(first, first + AT_ONCE);
  main.replaceChildren(...shown.map(card));
  document.getElementById("where").textContent =
    `${shown.length ? first + 1 : 0} to ${first + shown.length} of ${slides.length}`;
  document.getElementById("before").disabled = first === 0;
  document.getElementById("after").disabled = first + AT_ONCE >= slides.length;
  document.getElementById("pages").hidden = slides.length <= AT_ONCE;
}
function turn(by) {
  first += by * AT_ONCE;
  show();
  scrollTo(0, 0);
}
const collate = new Intl.Collator().compare;
function arrange() {
  const key = { dropped: "share" }[order.value] || order.value;
  const sign = ascending.checked ? 1 : -1;
  const byName = (a, b) => collate(a.name, b.name);
  slides.sort((a, b) => key === "name"
    ? byName(a, b) * -sign
    : sign * ((a[key] || 0) - (b[key] || 0)) || byName(a, b));
  first = 0;
  show();
}
function count() {
  document.getElementById("ticked").textContent = ticked.size + " ticked";
}
function save() {
  const risky = text => /^'*[=+@-]/.test(text) && (text[0] === "'" || isNaN(text));
  const safe = text => risky(text) ? "'" + text : text;
  const cell = text => '"' + safe(text).replaceAll('"', '""') + '"';
  const lines = ["slide_id", ...[...ticked].sort().map(cell)];
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([lines.join("\\n") + "\\n"], {type: "text/csv"}));
  link.download = "exclude.csv";
  link.click();
  URL.revokeObjectURL(link.href);
}
order.onchange = arrange;
ascending.onchange = arrange;
document.getElementById("before").onclick = () => turn(-1);
document.getElementById("after").onclick = () => turn(1);
document.getElementById("save").onclick = save;
count();
show();
</script>
</body>
</html>
"""
