// A map's numbers: which patch lies under a point, and what is said about it.

export class Cells {
  constructor(columns, side) {
    this.columns = columns;
    this.count = columns.region.length;
    // Patches of different regions never overlap; a coarse raster finds the few candidates.
    this.side = side;
    this.bins = new Map();
    columns.box_level0.forEach((box, i) => {
      for (const bin of this.#bins(box)) {
        if (!this.bins.has(bin)) this.bins.set(bin, []);
        this.bins.get(bin).push(i);
      }
    });
    this.orders = new Map();
  }

  * #bins([left, top, right, bottom]) {
    for (let y = Math.floor(top / this.side); y * this.side < bottom; y++)
      for (let x = Math.floor(left / this.side); x * this.side < right; x++) yield `${x},${y}`;
  }

  at(x, y) {
    const bin = this.bins.get(`${Math.floor(x / this.side)},${Math.floor(y / this.side)}`) ?? [];
    const found = bin.find((i) => {
      const [left, top, right, bottom] = this.columns.box_level0[i];
      return left <= x && x < right && top <= y && y < bottom;
    });
    return found ?? null;
  }

  // Patches the model saw, highest first; of equal ones the first in the file.
  order(scale) {
    if (!this.orders.has(scale)) {
      const value = this.columns[scale];
      const seen = [...value.keys()].filter((i) => value[i] !== null);
      this.orders.set(scale, seen.sort((a, b) => value[b] - value[a] || a - b));
    }
    return this.orders.get(scale);
  }
}

export function number(value) {
  if (value === null) return "–";
  const size = Math.abs(value);
  if (size !== 0 && size < 0.001) return value.toExponential(2);
  return value.toFixed(size < 0.1 ? 4 : size < 10 ? 3 : 1);
}

const NAMES = { raw: "Value", relative: "Relative", rank: "Rank", minmax: "Min–max" };

// Rows of [name, text, is it the one shown as colour] about patch i.
export function readings(cells, i, layer, scale) {
  const c = cells.columns;
  const [x, y] = c.xy_level0[i];
  const rows = [
    ["Patch", `region ${c.region[i]}, row ${c.row[i]}, column ${c.column[i]}`, false],
    ["Corner", `x ${x}, y ${y} px`, false],
    ["Tissue", `${(100 * c.tissue_fraction[i]).toFixed(1)} %`, false],
  ];
  if (!c.visible[i]) return [...rows, ["Seen", "no: hidden from the model", false]];
  for (const { key } of layer.scales) rows.push([NAMES[key] ?? key, number(c[key][i]), key === scale]);
  return rows;
}
