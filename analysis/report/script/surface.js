// The loss of a law at any size and tokens, on the cubic between losses computed beforehand.

const FINER = 3; // steps of a contour's grid between two of the losses computed beforehand
const MOST_LEVELS = 12;
const surface = data.surface;
const surfaceLosses = surface ? surface.losses.map((steps) => undoneSteps(steps, surface.unit)) : [];

// The place of a value among evenly spaced logarithms.
const placeIn = (values, value) =>
  ((values.length - 1) * Math.log(value / values[0])) / Math.log(values[values.length - 1] / values[0]);
const valueAt = (values, place) =>
  values[0] * (values[values.length - 1] / values[0]) ** (Math.min(Math.max(place, 0), values.length - 1) / (values.length - 1));

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

const finer = (values) => FINER * (values.length - 1) + 1;

// The losses of a law on a finer grid, sizes across and tokens up.
function surfaceOf(law) {
  const [width, height] = [finer(surface.n), finer(surface.d)];
  const values = new Float64Array(width * height);
  for (let row = 0; row < height; row += 1) {
    for (let column = 0; column < width; column += 1) values[row * width + column] = lossAtPlace(law, column / FINER, row / FINER);
  }
  return { width, height, values };
}

// A contour counts from the outer edge of the grid's first cell.
const nOf = (place) => valueAt(surface.n, (place - 0.5) / FINER);
const dOf = (place) => valueAt(surface.d, (place - 0.5) / FINER);

// Losses of contours that are round in the unit shown, between those at the corners of what is seen.
function levels(law, unit, bitsPerNat, sizes, tokens, count) {
  const within = (values, value) => Math.min(Math.max(value, values[0]), values[values.length - 1]);
  const own = sizes.map((size) => within(surface.n, count ? carriedOn(data.sizes[count], data.sizes[0], size) : size));
  const corners = own.flatMap((n) => tokens.map((d) => lossAt(law, n, within(surface.d, d)))).filter(given);
  const shown = { nats: (loss) => loss, bits: (loss) => loss * bitsPerNat, perplexity: Math.exp }[unit];
  const back = { nats: (loss) => loss, bits: (loss) => loss / bitsPerNat, perplexity: Math.log }[unit];
  const [low, high] = [Math.min(...corners), Math.max(...corners)].map(shown);
  return roundLevels(low, high, unit === "perplexity").map(back);
}

// At most MOST_LEVELS round numbers inside a range; with few of them along logarithms, more in each decade.
function roundLevels(low, high, log) {
  if (log && high / low > 4) {
    const found = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power += 1) {
      for (const lead of [1, 1.5, 2, 3, 5, 7]) found.push(Number(`${lead}e${power}`));
    }
    return found.filter((value) => value > low && value < high);
  }
  const raw = (high - low) / MOST_LEVELS;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].find((lead) => raw <= lead * power * 1.0001) * power;
  const found = [];
  for (let k = Math.floor(low / step) + 1; k * step < high; k += 1) found.push(Number((k * step).toPrecision(10)));
  return found;
}
