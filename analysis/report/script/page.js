// The state of the page, its controls, and what follows from a change.

const state = {
  law: 0,
  unit: "nats",
  linear: false,
  hidden: [],
  lit: null,
  name: "c", // what is given: compute, size or tokens
  value: data.largest,
  speed: data.speed,
  answer: null,
  chosen: {}, // options of the lists above figures
};
const UNIT_WORDS = { nats: "nats", bits: "bits per byte", perplexity: "perplexity" };
const SPELLED = { c: (value) => flops(value, 3), n: (value) => si(value), d: (value) => si(value) };
const control = (name) => document.getElementById("live-" + name);

function element(tag, className = "", text = "") {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}

function shownLoss(loss) {
  if (!given(loss)) return loss;
  return state.unit === "bits" ? loss * data.bits_per_nat : state.unit === "perplexity" ? Math.exp(loss) : loss;
}

// Ends of the slider.
function reach() {
  const curve = data.frontier[state.law][state.name];
  return [curve[0], curve[curve.length - 1]];
}

function change(changed) {
  const before = { ...state };
  Object.assign(state, changed);
  if (data.laws.length) {
    if (state.name !== before.name) state.value = before.answer[state.name];
    const [low, high] = reach();
    state.value = Math.min(Math.max(state.value, low), high);
    state.answer = answerOf(data.frontier[state.law], state.name, state.value);
    writeAnswer();
  }
  if (state.linear !== before.linear) rebuild();
  else tell(sharedSignals());
  for (const button of document.querySelectorAll(".live-toggle[data-rung]"))
    button.setAttribute("aria-pressed", String(!state.hidden.includes(button.dataset.rung)));
  remember();
}

function writeAnswer() {
  const found = state.answer;
  const [low, high] = reach();
  const slider = control("slider");
  slider.value = Math.round((1000 * Math.log(state.value / low)) / Math.log(high / low));
  slider.setAttribute("aria-valuetext", SPELLED[state.name](state.value));
  if (document.activeElement !== control("value")) control("value").value = SPELLED[state.name](state.value);
  const loss = (value) => decimals(shownLoss(value));
  const rows = {
    c: [flops(found.c, 3), between(found.c_low, found.c_high, flops)],
    n: [si(found.n), between(found.n_low, found.n_high, si)],
    d: [si(found.d), between(found.d_low, found.d_high, si)],
    loss: [`${loss(found.loss)} ${UNIT_WORDS[state.unit]}`, between(found.loss_low, found.loss_high, loss)],
    flat: [`${si(found.flat_low)} – ${si(found.flat_high)}`, ""],
    ratio: [significant(tokensPerParameter(found), 3), ""],
    hours: [given(state.speed) && state.speed > 0 ? lasting(found.c / state.speed) : DASH, ""],
  };
  for (const [name, [value, interval]] of Object.entries(rows)) {
    control("out-" + name).textContent = value;
    const beside = control("low-high-" + name);
    if (beside) beside.textContent = interval;
  }
  const factor = found.c / data.largest;
  control("far").textContent =
    factor > 1.001 ? `${significant(factor, 2)} times the largest run: extrapolation.` : "Within the compute of the runs.";
  control("far").classList.toggle("warn", factor > 30);
}

// The view as the fragment of the address, so that it can be sent.
function remember() {
  const kept = new URLSearchParams();
  if (state.law) kept.set("law", data.laws[state.law]);
  if (state.unit !== "nats") kept.set("unit", state.unit);
  if (state.linear) kept.set("axes", "linear");
  if (state.hidden.length) kept.set("hide", state.hidden.join(","));
  if (state.answer && (state.name !== "c" || state.value !== data.largest)) kept.set(state.name, significant(state.value, 6));
  rememberChoices(kept);
  const fragment = kept.toString();
  const before = location.hash.includes("=") ? location.hash : "";
  if (fragment || before) history.replaceState(null, "", "#" + fragment);
}

function recall() {
  if (!location.hash.includes("=")) return {};
  const kept = new URLSearchParams(location.hash.slice(1));
  const found = { chosen: firstChoices(kept) };
  const law = data.laws.indexOf(kept.get("law"));
  if (law > 0) found.law = law;
  if (kept.get("unit") in UNIT_WORDS && (kept.get("unit") !== "bits" || data.bits_per_nat)) found.unit = kept.get("unit");
  if (kept.get("axes") === "linear") found.linear = true;
  const rungs = new Set(data.runs.map((run) => run.rung));
  if (kept.has("hide")) found.hidden = kept.get("hide").split(",").filter((rung) => rungs.has(rung));
  for (const name of ["c", "n", "d"]) {
    const value = Number(kept.get(name));
    if (data.laws.length && value > 0 && Number.isFinite(value)) Object.assign(found, { name, value });
  }
  return found;
}

function start() {
  if (!Object.keys(data.charts).length) return;
  Object.assign(state, { chosen: firstChoices() }, recall());
  if (data.laws.length) {
    const [low, high] = reach();
    state.value = Math.min(Math.max(state.value, low), high);
    state.answer = answerOf(data.frontier[state.law], state.name, state.value);
    control("law").value = state.law;
    control("given").value = state.name;
    if (given(state.speed)) control("speed").value = flops(state.speed, 3);
    control("law").addEventListener("change", (event) => change({ law: Number(event.target.value) }));
    control("given").addEventListener("change", (event) => change({ name: event.target.value }));
    control("slider").addEventListener("input", (event) => {
      const [first, last] = reach();
      change({ value: first * (last / first) ** (event.target.value / 1000) });
    });
    control("value").addEventListener("change", (event) => {
      const value = typed(event.target.value);
      event.target.setAttribute("aria-invalid", String(!(value > 0)));
      if (value > 0) change({ value });
    });
    control("value").addEventListener("blur", writeAnswer);
    control("speed").addEventListener("change", (event) => change({ speed: typed(event.target.value) }));
    writeAnswer();
    control("budget").hidden = false;
  }
  if (control("unit")) {
    control("unit").value = state.unit;
    control("unit").addEventListener("change", (event) => change({ unit: event.target.value }));
  }
  control("linear").checked = state.linear;
  control("linear").addEventListener("change", (event) => change({ linear: event.target.checked }));
  control("bar").hidden = false;
  if (!data.charts.overview) return;
  place("overview", data.charts.overview);
  show("overview");
}

// What lies below the script in the page.
function startBelow() {
  for (const [name, charts] of Object.entries(data.charts)) if (name !== "overview") place(name, charts);
  for (const [name, charts] of Object.entries(data.charts)) if (charts[0].usermeta.card) choose(name);
  toolsOfTables();
  toolsOfFigures();
  rowsLightRuns();
}
