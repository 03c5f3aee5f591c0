// Curves of losses along training: as logged, smoothed or on the evaluation text, with ends forecast on the way.

const CURVES = ["loss_curves", "loss_against_compute"];
const KIND_WORDS = { evaluated: "on the evaluation text", smoothed: "training, smoothed", raw: "training, as logged" };

function undone([place, ...steps], unit) {
  return { tokens: data.curves.tokens[place], losses: undoneSteps(steps, unit) };
}

function curveRows(seen) {
  return data.curves.rows
    .map((row, key) => {
      const [rate_tokens, rates] = row.rates.length ? row.rates : [[], []];
      const { run, rung, trunk, flops_per_token } = row;
      const known = row[state.curve] ? undone(row[state.curve], data.curves.units[state.curve]) : { tokens: [], losses: [] };
      return { key, run, rung, trunk, flops_per_token, ...known, rate_tokens, rates, seen: row.seen };
    })
    .filter((row) => row.seen === seen);
}

function chooser(label, name, options) {
  const box = element("label", "", label + " ");
  const list = element("select");
  list.dataset.control = name;
  for (const [value, words] of options) {
    const option = element("option", "", words);
    option.value = value;
    list.append(option);
  }
  list.value = state[name] ?? "";
  box.append(list);
  list.addEventListener("change", () => {
    const number = Number(list.value);
    change({ [name]: list.value === "" ? null : Number.isNaN(number) ? list.value : number });
  });
  return box;
}

// The same lists stand over both figures of curves and show the same state.
function curveControls() {
  const box = element("div", "live-choices");
  const { kinds, window: width } = data.curves;
  if (kinds.length > 1) box.append(chooser("loss", "curve", kinds.map((kind) => [kind, KIND_WORDS[kind]])));
  const shares = [...new Set(data.forecast.map((each) => each.share))].sort();
  if (shares.length) {
    const from = shares.map((share) => [share, `after ${percent(share)} of training`]);
    box.append(chooser("ends forecast", "forecast", [["", "not shown"], ...from]));
  }
  if (kinds.includes("smoothed")) {
    const words = `Smoothed: straight lines in log tokens through the logged rows within ± ${percent(width)} of the tokens.`;
    box.append(element("span", "live-note", words));
  }
  return box;
}

function redrawCurves() {
  for (const name of CURVES) {
    const one = views.get(name);
    if (!one) continue;
    if (one.visible) show(name);
    else one.stale = one.drawn.length > 0;
  }
}

function writeCurveControls() {
  for (const list of document.querySelectorAll("[data-control]")) list.value = state[list.dataset.control] ?? "";
}
