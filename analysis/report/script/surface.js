// The loss of a law at any size and tokens, on the cubic between losses computed beforehand.

const CELLS = 44; // of the grid of contours, each way
const LEVELS = 12;
const WIDENS = 8;
const surface = data.surface;
const surfaceLosses = surface ? surface.losses.map((steps) => undoneSteps(steps, surface.unit)) : [];

// The place of a value among evenly spaced logarithms.
const placeIn = (values, value) =>
  ((values.length - 1) * Math.log(value / values[0])) / Math.log(values[values.length - 1] / values[0]);
// The loss at places of the grid; null beyond it.
function lossAtPlace(law, across, up) {
  const [wide, high] = [surface.n.length, surface.d.length];
  if (!(across > -1e-6 && across < wide - 1 + 1e-6 && up > -1e-6 && up < high - 1 + 1e-6)) return null;
  const [left, columns] = cubicWeights(across, wide);
  const [low, rows] = cubicWeights(up, high);
  let sum = 0;
  columns.forEach((column, i) => rows.forEach((row, j) => (sum += column * row * surfaceLosses[law][(left + i) * high + low + j])));
  return sum;
}

const lossAt = (law, n, d) => lossAtPlace(law, placeIn(surface.n, n), placeIn(surface.d, d));
const costOf = (n) => carriedOn(surface.n, surface.per_token, n);

// What is seen of the grid, with a cell around it so that no contour ends in sight.
function seenOf(values, ends) {
  const [first, last] = [values[0], values[values.length - 1]];
  const [low, high] = ends.map((end) => Math.min(Math.max(end, first), last));
  const cell = (high / low) ** (1 / CELLS);
  return [Math.max(low / cell, first), Math.min(high * cell, last)];
}

const ownSizes = (sizes, count) => sizes.map((size) => (count ? carriedOn(data.sizes[count], data.sizes[0], size) : size));
const alongEnds = ([low, high], place) => low * (high / low) ** Math.min(Math.max(place / (CELLS - 1), 0), 1);

// The losses of a law over what is seen, sizes across and tokens up.
function surfaceOf(law, sizes, tokens, count) {
  const [n, d] = [seenOf(surface.n, ownSizes(sizes, count)), seenOf(surface.d, tokens)];
  const every = Array.from({ length: CELLS }, (_, i) => i);
  const columns = every.map((i) => placeIn(surface.n, alongEnds(n, i)));
  const rows = every.map((i) => placeIn(surface.d, alongEnds(d, i)));
  return { width: CELLS, height: CELLS, n, d, values: rows.flatMap((up) => columns.map((across) => lossAtPlace(law, across, up))) };
}

// A contour counts from the outer edge of the first cell.
const nOf = (seen, place) => alongEnds(seen.n, place - 0.5);
const dOf = (seen, place) => alongEnds(seen.d, place - 0.5);
const endOf = (axis, last) => surface[axis][last ? surface[axis].length - 1 : 0];

// Losses of contours that are round in the unit shown, between those at the corners of what is seen.
function levels(law, unit, bitsPerNat, sizes, tokens, count) {
  const within = (values, value) => Math.min(Math.max(value, values[0]), values[values.length - 1]);
  const own = ownSizes(sizes, count).map((size) => within(surface.n, size));
  const corners = own.flatMap((n) => tokens.map((d) => lossAt(law, n, within(surface.d, d)))).filter(given);
  const shown = { nats: (loss) => loss, bits: (loss) => loss * bitsPerNat, perplexity: Math.exp }[unit];
  const back = { nats: (loss) => loss, bits: (loss) => loss / bitsPerNat, perplexity: Math.log }[unit];
  return roundLevels(Math.min(...corners), Math.max(...corners), shown).map(back);
}

// Round numbers of the shown losses, WIDENS times as far apart at the high end, where a law is steep.
function roundLevels(low, high, shown) {
  const growth = WIDENS ** (1 / LEVELS);
  const at = (i) => shown(low + ((high - low) * (growth ** i - 1)) / (growth ** LEVELS - 1));
  const found = new Set();
  for (let i = 1; i < LEVELS; i += 1) {
    const gap = at(i + 1) - at(i);
    const power = 10 ** Math.floor(Math.log10(gap));
    const step = [5, 2, 1].find((lead) => lead * power <= gap * 1.0001) * power;
    const value = Number((Math.round(at(i) / step) * step).toPrecision(10));
    if (value > shown(low) && value < shown(high)) found.add(value);
  }
  return [...found];
}

// A number for every list of levels. Vega loses a group that is emptied and filled anew under the same name.
const turns = new WeakMap();
let turn = 0;

function turnOf(list) {
  if (!turns.has(list)) turns.set(list, (turn += 1));
  return turns.get(list);
}
