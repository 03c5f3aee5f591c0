// Curves of a sweep as one SVG: loss against tokens, both logarithmic, with ends and forecast intervals.

const LEFT = 52;
const RIGHT = 14;
const TOP = 12;
const BOTTOM = 44;
export const N_COLOURS = 8; // that the style sheet has

function element(name, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

const title = (text) => element("title", {}, text);

// 1,500,000 as 1.5M.
function short(value) {
  for (const [size, suffix] of [[1e12, "T"], [1e9, "B"], [1e6, "M"], [1e3, "k"]]) {
    if (value >= size) return `${Number((value / size).toPrecision(3))}${suffix}`;
  }
  return String(Number(value.toPrecision(3)));
}

// 1, 2 and 5 times powers of ten between two numbers; powers alone if that is enough.
function decades(low, high) {
  const found = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1) {
    for (const digit of [1, 2, 5]) found.push(Number(`${digit}e${power}`));
  }
  const within = found.filter((each) => each >= low && each <= high);
  const powers = within.filter((each) => String(each.toExponential()).startsWith("1e"));
  return powers.length >= 4 ? powers : within;
}

// Round numbers at equal distances between two numbers, about `count` of them.
function steps(low, high, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((digit) => digit * power).find((each) => each >= rough);
  const found = [];
  for (let at = Math.ceil(low / step); at * step <= high; at += 1) found.push(Number((at * step).toPrecision(6)));
  return found;
}

const isShown = (value) => typeof value === "number" && Number.isFinite(value) && value > 0;

// Rows that can be drawn: the loss of a diverged run may be no number.
function rowsOf(curve) {
  return curve.n_tokens.map((n, i) => [n, curve.loss[i]]).filter((row) => row.every(isShown));
}

// `width` in pixels of the page, so that letters keep their size on a telephone.
export function chart(view, colourOf, width) {
  const height = Math.max(260, Math.round(width * 0.46));
  const drawn = view.curves.map((curve) => ({ curve, rows: rowsOf(curve) })).filter((each) => each.rows.length);
  if (!drawn.length) return null;
  const tokens = drawn.flatMap(({ curve, rows }) => [...rows.map(([n]) => n), ...curve.ends.map((e) => e.n_tokens)]);
  const losses = drawn.flatMap(({ curve, rows }) => [
    ...rows.map(([, loss]) => loss),
    ...curve.ends.flatMap((end) => [end.loss, ...(end.interval ?? [])]),
  ]);
  const [n0, n1] = [Math.min(...tokens.filter(isShown)), Math.max(...tokens.filter(isShown)) * 1.08];
  const [l0, l1] = [Math.min(...losses.filter(isShown)) / 1.015, Math.max(...losses.filter(isShown)) * 1.015];
  const share = (value, low, high) => Math.log(value / low) / Math.log(high / low);
  const x = (n) => LEFT + share(n, n0, n1) * (width - LEFT - RIGHT);
  const y = (loss) => height - BOTTOM - share(loss, l0, l1) * (height - TOP - BOTTOM);

  const svg = element("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label":
    "Loss against training tokens of each run; the table below has the same numbers" });
  const grid = element("g", { class: "grid" });
  for (const n of decades(n0, n1)) {
    grid.append(element("line", { x1: x(n), x2: x(n), y1: TOP, y2: height - BOTTOM }));
    grid.append(element("text", { x: x(n), y: height - BOTTOM + 17, "text-anchor": "middle" }, short(n)));
  }
  for (const loss of steps(l0, l1, 6)) {
    grid.append(element("line", { x1: LEFT, x2: width - RIGHT, y1: y(loss), y2: y(loss) }));
    grid.append(element("text", { x: LEFT - 7, y: y(loss) + 4, "text-anchor": "end" }, String(loss)));
  }
  const middle = (TOP + height - BOTTOM) / 2;
  grid.append(element("text", { x: (LEFT + width - RIGHT) / 2, y: height - 6, "text-anchor": "middle" }, "training tokens"));
  grid.append(element("text", { transform: `translate(13 ${middle}) rotate(-90)`, "text-anchor": "middle" }, "loss, nats per token"));
  svg.append(grid);

  const hasAhead = drawn.some(({ curve }) => curve.is_ahead);
  // Unfinished runs come first and are drawn last, above the others.
  for (const { curve, rows } of drawn.reverse()) {
    const weight = curve.is_ahead ? "ahead" : hasAhead ? "behind" : "plain";
    const group = element("g", { class: `curve ${weight} c${colourOf(curve.rung)}`, "data-run": curve.run });
    const path = rows.map(([n, loss], i) => `${i ? "L" : "M"}${x(n).toFixed(1)} ${y(loss).toFixed(1)}`).join("");
    const [n, loss] = rows[rows.length - 1];
    group.append(title(`${curve.name}, run ${curve.run}: loss ${loss.toFixed(3)} at ${short(n)} tokens`));
    group.append(element("path", { d: path, class: "line" }), element("path", { d: path, class: "reach" }));
    for (const end of curve.ends.filter((each) => isShown(each.loss))) {
      const at = { cx: x(end.n_tokens).toFixed(1), cy: y(end.loss).toFixed(1), r: weight === "behind" ? 2.2 : 3.4 };
      if (!end.interval) {
        group.append(element("circle", { ...at, class: "end" }, title(`${curve.name}: ${end.loss.toFixed(3)} after ${short(end.n_tokens)} tokens`)));
        continue;
      }
      const [low, high] = end.interval;
      const said = `${curve.name} ends at ${end.loss.toFixed(3)} [${low.toFixed(3)}, ${high.toFixed(3)}] after ${short(end.n_tokens)} tokens`;
      group.append(
        element("path", { class: "to-end", d: `M${x(n).toFixed(1)} ${y(loss).toFixed(1)}L${at.cx} ${at.cy}` }),
        element("line", { class: "interval", x1: at.cx, x2: at.cx, y1: y(low).toFixed(1), y2: y(high).toFixed(1) }),
        element("circle", { ...at, r: 4.5, class: "forecast" }, title(said)),
      );
    }
    svg.append(group);
  }
  return svg;
}
