// The page: what is chosen, and what follows from it.

import { Cells, readings } from "./cells.js";
import { drawColourBar } from "./colourbar.js";
import { listenToKeys, listKeys } from "./keys.js";
import { Layers } from "./layers.js";
import { drawScaleBar } from "./scalebar.js";

const $ = (id) => document.getElementById(id);

async function json(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}

function trouble(text) {
  $("trouble").textContent = text;
  $("trouble").hidden = false;
}

class Page {
  constructor(scene) {
    this.scene = scene;
    this.loaded = new Map();
    this.cells = null;
    this.rank = null;
    this.#describe();
    this.layers = new Layers($("slide"), scene);
    this.#listen();
  }

  async start() {
    await this.layers.ready;
    const { viewer } = this.layers;
    viewer.addHandler("animation", () => this.#moved());
    viewer.addHandler("resize", () => this.#moved());
    viewer.addHandler("tile-load-failed", () =>
      trouble("Some pixels could not be shown: the slide is damaged there, or hvit view was stopped."));
    this.#moved();
    if (this.scene.layers.length) await this.choose();
    document.body.dataset.ready = "yes";
  }

  // What is chosen ------------------------------------------------------------

  get attention() {
    return document.querySelector("#attention input:checked")?.value ?? null;
  }

  get ofAttention() {
    return this.scene.layers.filter((layer) => layer.attention === this.attention);
  }

  get layer() { return this.ofAttention.find((layer) => layer.name === $("map").value); }

  get scale() { return this.layer.scales.find((scale) => scale.key === $("scale").value); }

  // Maps and scales of the attention chosen; what was wanted before stays where it exists.
  #offer() {
    fill($("map"), this.ofAttention.map((layer) => [layer.name, layer.name]), $("map").value);
    const names = { relative: "relative (1 = uniform)", rank: "rank in the slide", minmax: "min–max", raw: "value as it is" };
    fill($("scale"), this.layer.scales.map(({ key }) => [key, names[key] ?? key]), this.wantedScale);
    $("glass-row").hidden = !this.layer.hasSeenGlass;
  }

  async choose() {
    this.#offer();
    const { layer, scale } = this;
    drawColourBar($("colourbar"), $("ticks"), layer, scale);
    $("bar-label").textContent = scale.label;
    $("about").textContent = layer.about;
    $("about").hidden = false;
    this.rank = null;
    // Until the new map's numbers are here there are none: the old ones have other scales.
    this.cells = null;
    this.#place();
    const shown = this.layers.showMap(layer, scale.key, layer.hasSeenGlass && $("glass").checked, $("grey").checked);
    if (!this.loaded.has(layer.key))
      this.loaded.set(layer.key, json(`cells/${layer.key}.json`).then((c) => new Cells(c, binSide(c))));
    const cells = await this.loaded.get(layer.key);
    if (layer !== this.layer) return;
    this.cells = cells;
    this.#place();
    await shown;
    if (this.pointer) this.#read(this.layers.level0At(...this.pointer));
  }

  // What keys and controls do ---------------------------------------------------

  pan(right, down) { this.layers.pan(right, down); this.#readCentre(); }

  zoom(by) { this.layers.zoom(by); this.#readCentre(); }

  home() { this.layers.home(); this.#readCentre(); }

  toggle(id) {
    const box = $(id);
    if (box.closest("[hidden]")) return;
    box.checked = !box.checked;
    box.dispatchEvent(new Event("change"));
  }

  fade(by) {
    const slider = $("opacity");
    slider.value = Number(slider.value) + by;
    slider.dispatchEvent(new Event("input"));
  }

  nextOf(id) {
    const list = $(id);
    if (!list.options.length) return;
    list.selectedIndex = (list.selectedIndex + 1) % list.options.length;
    list.dispatchEvent(new Event("change"));
    this.#speak(list.selectedOptions[0].textContent);
  }

  nextAttention() {
    const kinds = [...document.querySelectorAll("#attention input")];
    if (kinds.length < 2) return;
    const next = kinds[(kinds.findIndex((kind) => kind.checked) + 1) % kinds.length];
    next.checked = true;
    next.dispatchEvent(new Event("change"));
    this.#speak(next.closest("label").textContent);
  }

  step(by) {
    if (!this.cells) return;
    const order = this.cells.order(this.scale.key);
    if (!order.length) return;
    this.rank = Math.min(order.length - 1, Math.max(0, this.rank === null ? 0 : this.rank + by));
    const i = order[this.rank];
    this.layers.goTo(this.cells.columns.box_level0[i]);
    this.#show(i);
    this.#place();
    this.#speak(`${this.rank + 1} of ${order.length}. ${this.#text(i)}`);
  }

  help() { $("help").showModal(); }

  // Readings -------------------------------------------------------------------

  #moved() {
    drawScaleBar($("scalebar-line"), $("scalebar-text"), this.layers.level0PerScreenPx * this.scene.spacingUm);
    if (this.byKeys) this.#read(this.layers.level0AtCentre);
  }

  #readCentre() {
    this.byKeys = true;
    this.pointer = null;
    $("crosshair").hidden = false;
    $("cell-title").textContent = "At the centre";
    clearTimeout(this.speaking);
    this.speaking = setTimeout(() => {
      const i = this.#read(this.layers.level0AtCentre);
      this.#speak(i === null ? "No patch at the centre" : this.#text(i));
    }, 700);
  }

  #readPointer(event) {
    this.byKeys = false;
    clearTimeout(this.speaking);
    this.pointer = [event.clientX, event.clientY];
    $("crosshair").hidden = true;
    $("cell-title").textContent = "Under the pointer";
    this.#read(this.layers.level0At(...this.pointer));
  }

  #read(point) {
    const i = this.cells ? this.cells.at(point.x, point.y) : null;
    this.#show(i);
    return i;
  }

  #show(i) {
    const rows = i === null
      ? [["", this.scene.layers.length ? "No patch here: outside every region, or glass that was not read." : "No maps.", false]]
      : readings(this.cells, i, this.layer, this.scale.key);
    $("cell").replaceChildren(...rows.flatMap(([name, text, main]) => {
      const value = document.createElement("dd");
      value.textContent = text;
      value.className = main ? "main" : name ? "" : "alone faint";
      if (!name) return [value];
      const term = document.createElement("dt");
      term.textContent = name;
      if (main) term.className = "main";
      return [term, value];
    }));
    $("cell").dataset.cell = i ?? "";
    this.layers.frame(i === null ? null : this.cells.columns.box_level0[i]);
  }

  #text(i) {
    return readings(this.cells, i, this.layer, this.scale.key).map(([name, text]) => `${name}: ${text}`).join(". ");
  }

  #place() {
    const order = this.cells && this.layer ? this.cells.order(this.scale.key) : [];
    $("previous").disabled = !this.rank;
    $("next").disabled = !order.length || this.rank === order.length - 1;
    $("place").textContent = this.rank === null ? "" : `${this.rank + 1} of ${order.length}`;
  }

  #speak(text) { $("spoken").textContent = text; }

  // What is written once ---------------------------------------------------------

  #describe() {
    const { scene } = this;
    document.title = `${scene.slide} · hvit view`;
    $("slide-name").textContent = scene.slide;
    const [width, height] = scene.sizeLevel0;
    const mm = (px) => (px * scene.spacingUm / 1000).toFixed(1);
    $("slide-facts").textContent =
      `${width} × ${height} px, ${mm(width)} × ${mm(height)} mm, ${Number(scene.spacingUm.toPrecision(4))} µm/px · model ${scene.model}`;
    const notes = [...new Set(scene.said.map((said) => said.note).filter(Boolean))];
    $("note").textContent = notes.join(" ");
    $("note").hidden = !notes.length;
    $("attention").append(...scene.said.map(gradeCard));
    $("map-section").hidden = $("cell-section").hidden = !scene.layers.length;
    $("hatched").hidden = !scene.hasUnseen;
    $("remarks").append(...scene.remarks.map((remark) => {
      const item = document.createElement("li");
      item.textContent = remark;
      return item;
    }));
    $("opacity").value = Math.round(scene.opacity * 100);
    $("opacity-text").textContent = `${$("opacity").value} %`;
    $("version").textContent = `hvit ${scene.hvit}`;
    if (scene.watermark) {
      for (let line = 0; line < 3; line++) {
        const text = document.createElement("span");
        text.textContent = scene.watermark;
        $("watermark").append(text);
      }
      $("watermark").hidden = false;
    }
    listKeys($("keys"));
  }

  #listen() {
    $("attention").addEventListener("change", () => this.choose(), true);
    $("map").addEventListener("change", () => this.choose());
    $("scale").addEventListener("change", () => {
      this.wantedScale = $("scale").value;
      this.choose();
    });
    $("glass").addEventListener("change", () => this.choose());
    $("grey").addEventListener("change", () => this.choose());
    $("heat").addEventListener("change", () => this.layers.setHeat($("heat").checked));
    $("regions").addEventListener("change", () => this.layers.showRegions($("regions").checked));
    $("opacity").addEventListener("input", () => {
      $("opacity-text").textContent = `${$("opacity").value} %`;
      this.layers.setOpacity($("opacity").value / 100);
    });
    $("zoom-in").addEventListener("click", () => this.layers.zoom(1.5));
    $("zoom-out").addEventListener("click", () => this.layers.zoom(1 / 1.5));
    $("zoom-home").addEventListener("click", () => this.layers.home());
    $("previous").addEventListener("click", () => this.step(-1));
    $("next").addEventListener("click", () => this.step(1));
    $("help-open").addEventListener("click", () => this.help());
    $("slide").addEventListener("pointermove", (event) => this.#readPointer(event));
    listenToKeys(this);
  }
}

function fill(list, options, wanted) {
  list.replaceChildren(...options.map(([value, text]) => new Option(text, value)));
  list.value = options.some(([value]) => value === wanted) ? wanted : options[0][0];
}

function binSide(columns) {
  const sides = columns.box_level0.map(([left, , right]) => right - left);
  return Math.max(1, ...sides.slice(0, 1));
}

function gradeCard(said, number) {
  const card = document.createElement("label");
  card.className = "grade";
  const input = document.createElement("input");
  Object.assign(input, { type: "radio", name: "kind", value: said.attention, checked: number === 0 });
  const part = (tag, className, text) => {
    const element = document.createElement(tag);
    element.className = className;
    element.textContent = text;
    return element;
  };
  card.append(
    input, part("span", "kind", said.attention),
    part("strong", "", said.grade), part("span", "score", said.score));
  return card;
}

try {
  const scene = await json("scene.json");
  window.page = new Page(scene);
  await window.page.start();
} catch (error) {
  trouble(`The page could not be made: ${error.message}`);
  throw error;
}
