// The colours of a map from its lowest to its highest value.

export function drawColourBar(canvas, ticks, layer, scale) {
  const pen = canvas.getContext("2d");
  layer.colours.forEach((colour, i) => {
    pen.fillStyle = colour;
    pen.fillRect(i, 0, 1, canvas.height);
  });
  const [low, high] = scale.limits;
  const text = (value) => `${Number(value.toPrecision(3))}`;
  const [first, middle, last] = ticks.children;
  first.textContent = text(low);
  middle.textContent = text((low + high) / 2);
  // Relative values have no upper end: what lies beyond has the last colour.
  last.textContent = scale.key === "relative" ? `≥ ${text(high)}` : text(high);
  canvas.setAttribute("aria-label", `Colours from ${text(low)} to ${text(high)}: ${scale.label}`);
}
