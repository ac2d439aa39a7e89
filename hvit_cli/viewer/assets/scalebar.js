// A bar of a round length in micrometres, and what a screen pixel covers.

const LONGEST_PX = 150;

export function niceLengthUm(umPerPx) {
  const most = LONGEST_PX * umPerPx;
  const power = 10 ** Math.floor(Math.log10(most));
  return [5, 2, 1].map((n) => n * power).find((length) => length <= most) ?? power;
}

export function lengthText(um) {
  return um >= 1000 ? `${um / 1000} mm` : `${Number(um.toPrecision(2))} µm`;
}

export function drawScaleBar(line, text, umPerPx) {
  const um = niceLengthUm(umPerPx);
  line.style.width = `${um / umPerPx}px`;
  text.textContent = `${lengthText(um)} · ${umPerPx.toPrecision(3)} µm/px on screen`;
}
