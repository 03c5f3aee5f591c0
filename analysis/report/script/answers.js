// What a law says at any budget, read in logarithms between the budgets that were computed beforehand.

function interpolate(xs, ys, x) {
  let low = 0;
  let high = xs.length - 1;
  if (x <= xs[0]) return ys[0];
  if (x >= xs[high]) return ys[high];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (xs[middle] <= x) low = middle;
    else high = middle;
  }
  const share = Math.log(x / xs[low]) / Math.log(xs[high] / xs[low]);
  return ys[low] * (ys[high] / ys[low]) ** share;
}

// The same beyond both ends, along the last piece.
function carriedOn(xs, ys, x) {
  const last = xs.length - 1;
  if (x >= xs[0] && x <= xs[last]) return interpolate(xs, ys, x);
  const [from, to] = x < xs[0] ? [0, 1] : [last - 1, last];
  return ys[from] * (ys[to] / ys[from]) ** (Math.log(x / xs[from]) / Math.log(xs[to] / xs[from]));
}

// The x at which a rising curve reaches y; null beyond its ends.
function reached(xs, ys, y) {
  if (y < ys[0] || y > ys[ys.length - 1]) return null;
  let high = 1;
  while (high < ys.length - 1 && ys[high] < y) high += 1;
  const low = high - 1;
  if (ys[high] <= ys[low]) return xs[high];
  const share = Math.log(y / ys[low]) / Math.log(ys[high] / ys[low]);
  return xs[low] * (xs[high] / xs[low]) ** share;
}

// The answer for a compute (given "c"), or for the size ("n") or tokens ("d") that are to be the best ones.
function answerOf(frontier, name, value) {
  const c = name === "c" ? value : reached(frontier.c, frontier[name], value);
  if (c === null) return null;
  const found = { c, c_low: null, c_high: null };
  for (const field of Object.keys(frontier)) if (field !== "c") found[field] = interpolate(frontier.c, frontier[field], c);
  if (name === "c") return found;
  // A draw whose size reaches N at less compute than C is one whose size at C lies above N.
  found.c_low = reached(frontier.c, frontier[name + "_high"], value);
  found.c_high = reached(frontier.c, frontier[name + "_low"], value);
  const cost = frontier.c.map((each, i) => each / frontier.d[i]);
  for (const side of ["low", "high"]) {
    const spent = found["c_" + side];
    found[name + "_" + side] = null;
    if (name === "n") found["d_" + side] = spent === null ? null : (found.d * spent) / c;
    else found["n_" + side] = spent === null ? null : interpolate(cost, frontier.n, spent / value);
  }
  found[name] = value;
  return found;
}

// The first of the four evenly spaced values next to a place, and the weights of their cubic there.
function cubicWeights(place, length) {
  const first = Math.min(Math.max(Math.floor(place) - 1, 0), length - 4);
  const x = place - first;
  const others = (i) => [0, 1, 2, 3].filter((j) => j !== i);
  return [first, [0, 1, 2, 3].map((i) => others(i).reduce((product, j) => (product * (x - j)) / (i - j), 1))];
}

// A value between evenly spaced ones, on the cubic through the four next to it; null beside an unknown one.
function cubic(values, place) {
  const [first, weights] = cubicWeights(place, values.length);
  const near = values.slice(first, first + 4);
  return near.every(given) ? near.reduce((sum, value, i) => sum + value * weights[i], 0) : null;
}

// The run of the answer's loss whose training and inference cost least together (analysis/prediction/demand.py);
// null for more inference than was computed beforehand, undefined for none.
function demandOf(known, demands, answer, tokens) {
  if (!(tokens > 0)) return undefined;
  const place = (demands.steps * Math.log1p(tokens / answer.d / demands.first)) / Math.log1p(demands.most / demands.first);
  if (!(place <= demands.steps)) return null;
  let low = 0;
  while (low < known.flops.length - 2 && known.flops[low + 1] < answer.c) low += 1;
  const high = Math.min(low + 1, known.flops.length - 1);
  const between = high > low ? Math.log(answer.c / known.flops[low]) / Math.log(known.flops[high] / known.flops[low]) : 0;
  const share = Math.min(Math.max(between, 0), 1);
  const factor = (name) => {
    const [one, other] = [low, high].map((row) =>
      cubic(known[name][row].map((value) => (value === null ? null : Math.log(value * demands.unit))), place),
    );
    return given(one) && given(other) ? Math.exp(one + share * (other - one)) : null;
  };
  const times = (value, by) => (by === null ? null : value * by);
  const [n, d, c] = ["n", "d", "c"].map((name) => times(answer[name], factor(name)));
  if (n === null || d === null) return null;
  const inference = (c / d / 3) * tokens;
  const least = answer.c * (1 + tokens / answer.d / 3);
  const ends = { n_low: times(n, factor("n_low")), n_high: times(n, factor("n_high")) };
  return { c, n, d, loss: answer.loss, ...ends, inference, saved: 1 - (c + inference) / least };
}
