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

const tokensPerParameter = (answer) => answer.d / answer.n;
