"use strict";
// Tables whose headings are buttons are sorted by them; what is folded is unfolded for paper.

const sorter = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

function compare(a, b, numbers) {
  const x = a.dataset.value ?? a.textContent.trim();
  const y = b.dataset.value ?? b.textContent.trim();
  // What has no value stands last, whichever way the others go.
  if (x === "" || y === "") return { empty: (x === "") - (y === "") };
  return { order: numbers ? Number(x) - Number(y) : sorter.compare(x, y) };
}

function sortBy(table, column, descending) {
  const heading = table.tHead.rows[0].cells[column];
  const numbers = heading.dataset.kind === "number";
  const body = table.tBodies[0];
  const rows = [...body.rows].map((row, place) => ({ row, place }));
  rows.sort((a, b) => {
    const found = compare(a.row.cells[column], b.row.cells[column], numbers);
    if (found.empty !== undefined) return found.empty || a.place - b.place;
    return (descending ? -found.order : found.order) || a.place - b.place;
  });
  body.append(...rows.map(({ row }) => row));
  for (const cell of table.tHead.rows[0].cells) cell.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
  const spoken = table.parentElement.querySelector("[aria-live]");
  if (spoken) {
    const way = descending ? "descending" : "ascending";
    spoken.textContent = `Sorted by ${heading.innerText.trim()}, ${way}.`;
  }
}

for (const table of document.querySelectorAll("table.sortable")) {
  [...table.tHead.rows[0].cells].forEach((heading, column) => {
    const button = heading.querySelector("button");
    if (!button) return;
    button.addEventListener("click", () => {
      const now = heading.getAttribute("aria-sort");
      const first = heading.dataset.first === "descending";
      sortBy(table, column, now ? now === "ascending" : first);
    });
  });
}

const folded = () => [...document.querySelectorAll("details:not([open])")];
let opened = [];
addEventListener("beforeprint", () => {
  opened = folded();
  for (const one of opened) one.open = true;
});
addEventListener("afterprint", () => {
  for (const one of opened) one.open = false;
});
