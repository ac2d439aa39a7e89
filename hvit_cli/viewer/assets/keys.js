// Every key of the page, in the order in which the help lists them.

export const KEYS = [
  { keys: ["ArrowLeft"], shown: ["←", "↑", "→", "↓"], says: "move", act: (p) => p.pan(-0.2, 0) },
  { keys: ["ArrowUp"], act: (p) => p.pan(0, -0.2) },
  { keys: ["ArrowRight"], act: (p) => p.pan(0.2, 0) },
  { keys: ["ArrowDown"], act: (p) => p.pan(0, 0.2) },
  { keys: ["+", "="], shown: ["+", "−"], says: "zoom in, zoom out", act: (p) => p.zoom(1.5) },
  { keys: ["-", "_"], act: (p) => p.zoom(1 / 1.5) },
  { keys: ["0"], shown: ["0"], says: "whole slide", act: (p) => p.home() },
  { keys: ["h", "H"], shown: ["H"], says: "heatmap on or off", act: (p) => p.toggle("heat") },
  { keys: ["["], shown: ["[", "]"], says: "opacity down, up", act: (p) => p.fade(-5) },
  { keys: ["]"], act: (p) => p.fade(5) },
  { keys: ["a", "A"], shown: ["A"], says: "masked or plain attention", act: (p) => p.nextAttention() },
  { keys: ["m", "M"], shown: ["M"], says: "next map", act: (p) => p.nextOf("map") },
  { keys: ["s", "S"], shown: ["S"], says: "next scale", act: (p) => p.nextOf("scale") },
  { keys: ["g", "G"], shown: ["G"], says: "hide glass that the model saw", act: (p) => p.toggle("glass") },
  { keys: ["c", "C"], shown: ["C"], says: "grey or coloured stain below the heatmap", act: (p) => p.toggle("grey") },
  { keys: ["r", "R"], shown: ["R"], says: "region borders", act: (p) => p.toggle("regions") },
  { keys: ["n", "N"], shown: ["N", "P"], says: "next highest patch, the one before", act: (p) => p.step(1) },
  { keys: ["p", "P"], act: (p) => p.step(-1) },
  { keys: ["?"], shown: ["?"], says: "this list", act: (p) => p.help() },
];

const ACTIONS = new Map(KEYS.flatMap(({ keys, act }) => keys.map((key) => [key, act])));

export function listenToKeys(page) {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    const at = event.target;
    if (at.matches("select, input[type=text]")) return;
    if (at.matches("input") && event.key.startsWith("Arrow")) return;
    const act = ACTIONS.get(event.key);
    if (!act) return;
    event.preventDefault();
    act(page);
  });
}

export function listKeys(list) {
  for (const { shown, says } of KEYS) {
    if (!shown) continue;
    const term = document.createElement("dt");
    for (const key of shown) {
      const cap = document.createElement("kbd");
      cap.textContent = key;
      term.append(cap);
    }
    const meaning = document.createElement("dd");
    meaning.textContent = says;
    list.append(term, meaning);
  }
}
